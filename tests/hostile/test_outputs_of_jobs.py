"""Jobs that leave traps where the worker looks for outputs. Each runs for real; a file beside the trap arrives."""

import pytest

from tests.hostile.conftest import LEFT_OUT, LOG, Victim

KEPT = {"output/output/kept": b"kept\n", LOG: b""}
NO_FILE = "is a link that leads to no file of the same folder"
DEEP = "/".join(["d"] * 1000)
LONG = "x" * 255

LEAVES_OUT = {
    "link_to_the_workers_environment": ("ln -s /proc/self/environ link", f"output/link: {NO_FILE}"),
    "link_to_the_passwords_of_the_host": ("ln -s /etc/shadow link", f"output/link: {NO_FILE}"),
    "link_to_the_jobs_own_record": ("ln -s ../../job.json link", f"output/link: {NO_FILE}"),
    "link_to_what_is_no_output": ("echo x > ../x; ln -s ../x link", f"output/link: {NO_FILE}"),
    "link_to_another_jobs_files": ("ln -s ../../../1/files/output/kept link", f"output/link: {NO_FILE}"),
    "link_to_the_whole_disk": ("ln -s / link", f"output/link: {NO_FILE}"),
    "link_to_an_endless_device": ("ln -s /dev/zero link", f"output/link: {NO_FILE}"),
    "ring_of_links": ("ln -s b a; ln -s c b; ln -s a c", f"output/a: {NO_FILE}"),
    "chain_of_links_that_leads_out": ("ln -s b a; ln -s c b; ln -s ../../../etc/passwd c", f"output/a: {NO_FILE}"),
    "chain_of_a_hundred_links": (
        "echo > 0; for i in $(seq 100); do ln -s $((i - 1)) $i; done",
        f"output/100: {NO_FILE}",
    ),
    "folder_that_is_a_link_and_a_way_through_it": ("ln -s /etc dir; ln -s dir/passwd link", f"output/link: {NO_FILE}"),
    "link_with_the_longest_target": (f"ln -s {'../' * 1360}etc/passwd link", f"output/link: {NO_FILE}"),
    "fifo_that_nobody_writes_to": ("mkfifo fifo", "output/fifo: is a FIFO"),
    "name_that_is_not_utf8": ("touch \"$(printf '\\377')\"", "output/\\xff: its name is not UTF-8"),
    "folder_whose_name_is_not_utf8": ("mkdir \"$(printf '\\377')\"", "output/\\xff: its name is not UTF-8"),
    "name_that_forges_a_line_of_the_list": (
        "ln -s / \"$(printf 'a\\nkept: is lost')\"",
        f"output/a\\nkept: is lost: {NO_FILE}",
    ),
    "sparse_file_of_fifteen_tebibytes": ("truncate -s 15360G sparse", "output/sparse: is beyond MAX_OUTPUT_GIB"),
    "folders_three_thousand_deep": (
        f"mkdir -p /files/1/{DEEP} /files/2/{DEEP} {DEEP}; mv /files/1/d /files/2/{DEEP}/; mv /files/2/d {DEEP}/",
        "is deeper than 200 folders",
    ),
    "ten_thousand_links": ("ln -s $(seq 10000) .", f"output/10000: {NO_FILE}"),
}


@pytest.mark.parametrize("trap", LEAVES_OUT)
def test_trap_is_left_out_and_listed_and_the_rest_arrives(victim: Victim, trap: str) -> None:
    """P4: an output that links to `/proc/self/environ` gave the job's author the lab's password."""
    line, told = LEAVES_OUT[trap]
    fate = victim.attack(f"cd /files/output; echo kept > kept; {line}", up={"output": "output"})
    assert told in fate.left_out
    arrived = {path: content for path, content in fate.outputs.items() if path != LEFT_OUT and path[-1].isalpha()}
    assert arrived == KEPT
    beyond = "MAX_OUTPUT_GIB" in told
    assert fate.status == ("error" if beyond else "finished")
    assert ("The outputs are larger than this worker uploads (MAX_OUTPUT_GIB)" in fate.told) == beyond


ARRIVES = {
    "link_to_a_file_beside_it": ("ln -s kept link", {"link": b"kept\n"}),
    "hard_link_to_an_input": ("ln /files/in hard", {"hard": b"input"}),
    "name_with_a_line_break": ("touch \"$(printf 'a\\nb')\"", {"a\nb": b""}),
    "name_that_clears_the_terminal": ("touch \"$(printf '\\033[2J')\"", {"\x1b[2J": b""}),
    "name_like_an_option": ("touch -- -rf", {"-rf": b""}),
    "name_of_255_bytes": (f"touch {LONG}", {LONG: b""}),
    "folders_a_hundred_deep": (
        f"mkdir -p {'d/' * 100} && touch {'d/' * 100}x",
        {f"{'d/' * 100}x": b""},
    ),
    "file_that_nobody_may_read": ("echo x > no; chmod 000 no", {"no": b"x\n"}),
    "folder_that_nobody_may_enter": ("mkdir no; echo x > no/x; chmod 000 no", {"no/x": b"x\n"}),
    "everything_taken_from_everybody": ("echo x > x; chmod -R 000 /files", {"x": b"x\n"}),
    "given_to_nobody": ("echo x > x; chown -R 65534:65534 /files; chmod -R 700 /files", {"x": b"x\n"}),
    "sparse_file_that_fits": ("truncate -s 3M sparse", {"sparse": bytes(3 << 20)}),
    "file_that_cannot_be_changed": ("echo x > x; chattr +i x || true", {"x": b"x\n"}),
    "setuid_program": ("cp /bin/true x; chmod 6777 x; echo > x", {"x": b"\n"}),
    "log_of_our_own_name": ("echo x > container.log; echo x > left-out.txt", {"container.log": b"x\n"}),
}


def test_odd_output_is_an_output(victim: Victim) -> None:
    jobs = {}
    for what, (line, _) in ARRIVES.items():
        cmd = f"cd /files/output; echo kept > kept; {line}"
        jobs[what] = {"app": {"cmd": [cmd]}, "files": {"in": b"input"}, "up": {"output": "output"}}
    for what, fate in victim.attack_all(jobs).items():
        assert fate.status == "finished", what
        for path, content in {"kept": b"kept\n", **ARRIVES[what][1]}.items():
            assert fate.outputs[f"output/output/{path}"] == content, what


FOLDERS = {
    "a_link_to_the_hosts_etc": ("rm -rf /files/output; ln -s /etc /files/output", "output"),
    "a_link_to_the_workers_folder": ("rm -rf /files/output; ln -s .. /files/output", "output"),
    "below_a_link": ("rm -rf /files/a; mkdir /files/b; echo x > /files/b/x; ln -s b /files/a", "a/b"),
    "a_file": ("rm -rf /files/output; echo x > /files/output", "output"),
    "a_fifo": ("rm -rf /files/output; mkfifo /files/output", "output"),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_output_folder_that_has_become_something_else_is_not_entered(victim: Victim, what: str) -> None:
    line, folder = FOLDERS[what]
    fate = victim.attack(line, up={"output": folder})
    assert fate.status == "finished"
    assert set(fate.outputs) == {LOG, LEFT_OUT}
    assert f"{folder}/: is not a folder of the job" in fate.left_out


def test_job_that_deletes_all_of_its_files_has_no_outputs(victim: Victim) -> None:
    fate = victim.attack("rm -rf /files/*", files={"a/b": b""}, up={"output": "output"})
    assert (fate.status, fate.outputs) == ("finished", {LOG: b""})


def test_more_outputs_than_allowed_arrive_up_to_that_size(victim: Victim) -> None:
    """`MAX_OUTPUT_GIB` is 100 by default, and S3 takes 5 GiB at once: a hundred sparse files cost neither."""
    line = "cd /files/output; for i in $(seq 100); do truncate -s 6G $i; done; echo kept > 0"
    fate = victim.attack(line, up={"output": "output"})
    assert fate.status == "error"
    assert fate.outputs["output/output/0"] == b"kept\n"
    assert "and the storage takes 5 GiB at most" in fate.told
    assert fate.left_out.count("is beyond MAX_OUTPUT_GIB") == 84
