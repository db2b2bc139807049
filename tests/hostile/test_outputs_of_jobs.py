"""Jobs that leave traps where the worker looks for outputs. Each runs for real; a file beside the trap arrives."""

import pytest

from tests.hostile.conftest import LEFT_OUT, Victim

KEPT = {"output/output/kept": b"kept\n"}
LEADS_OUT = "is a link that leads out of the job's files"
RING = "is a link in a ring, or in a chain of too many"
DEEP = "/".join(["d"] * 1000)
LONG = "x" * 255

LEAVES_OUT = {
    "link_to_the_workers_environment": ("ln -s /proc/self/environ link", f"output/link: {LEADS_OUT}"),
    "link_to_the_passwords_of_the_host": ("ln -s /etc/shadow link", f"output/link: {LEADS_OUT}"),
    "link_to_the_jobs_own_record": ("ln -s ../../job.json link", f"output/link: {LEADS_OUT}"),
    "link_to_an_input": ("ln -s ../in link", "output/link: is a link to an input"),
    "link_to_nothing": ("ln -s ../nothing link", "output/link: is a link to nothing"),
    "link_to_the_folder_around_it": ("ln -s .. link", "output/link: is a link to a folder that it lies in"),
    "link_to_another_jobs_files": ("ln -s ../../../1/files/output/kept link", f"output/link: {LEADS_OUT}"),
    "link_to_the_whole_disk": ("ln -s / link", f"output/link: {LEADS_OUT}"),
    "link_to_an_endless_device": ("ln -s /dev/zero link", f"output/link: {LEADS_OUT}"),
    "ring_of_links": ("ln -s b a; ln -s c b; ln -s a c", f"output/a: {RING}"),
    "chain_of_links_that_leads_out": ("ln -s b a; ln -s c b; ln -s ../../../etc/passwd c", f"output/a: {LEADS_OUT}"),
    "chain_of_a_hundred_links": (
        "echo > 0; for i in $(seq 100); do ln -s $((i - 1)) $i; done",
        f"output/100: {RING}",
    ),
    "folder_that_is_a_link_and_a_way_through": (
        "ln -s /etc dir; ln -s dir/passwd link",
        f"output/link: {LEADS_OUT}",
    ),
    "link_with_the_longest_target": (f"ln -s {'../' * 1360}etc/passwd link", f"output/link: {LEADS_OUT}"),
    "fifo_that_nobody_writes_to": ("mkfifo fifo", "output/fifo: is a FIFO"),
    "name_that_is_not_utf8": ("touch \"$(printf '\\377')\"", "output/\\xff: its name is not UTF-8"),
    "folder_whose_name_is_not_utf8": ("mkdir \"$(printf '\\377')\"", "output/\\xff: its name is not UTF-8"),
    "name_that_forges_a_line_of_the_list": (
        "ln -s / \"$(printf 'a\\nkept: is lost')\"",
        f"output/a\\nkept: is lost: {LEADS_OUT}",
    ),
    "sparse_file_of_fifteen_tebibytes": ("truncate -s 15360G sparse", "output/sparse: is beyond MAX_OUTPUT_GIB"),
    "folders_three_thousand_deep": (
        f"mkdir -p /files/1/{DEEP} /files/2/{DEEP} {DEEP}; mv /files/1/d /files/2/{DEEP}/; mv /files/2/d {DEEP}/",
        "is deeper than 200 folders",
    ),
    "ten_thousand_links": ("ln -s $(seq 10000) .", f"output/10000: {RING}"),
}


@pytest.mark.parametrize("trap", LEAVES_OUT)
def test_trap_is_left_out_and_listed_and_the_rest_arrives(victim: Victim, trap: str) -> None:
    """P4: an output that links to `/proc/self/environ` gave the job's author the lab's password."""
    line, told = LEAVES_OUT[trap]
    line = f"cd /files/output; echo kept > kept; {line}"
    fate = victim.attack(line, files={"in": b"input"}, up={"output": "output"})
    assert told in fate.left_out
    arrived = {path: content for path, content in fate.outputs.items() if path != LEFT_OUT and path[-1].isalpha()}
    assert arrived == KEPT
    beyond = "MAX_OUTPUT_GIB" in told
    assert fate.status == ("error" if beyond else "finished")
    assert ("The outputs are larger than this worker uploads; " in fate.told) == beyond
    assert ", listed in the log file 'log/left-out.txt': " in fate.told


ARRIVES = {
    "link_to_a_file_beside_it": ("ln -s kept link", {"link": b"kept\n"}),
    "link_to_a_file_beside_the_folder": ("echo x > ../x; ln -s ../x link", {"link": b"x\n"}),
    "link_to_a_folder_beside_it": ("mkdir ../y; echo x > ../y/x; ln -s /files/y link", {"link/x": b"x\n"}),
    "name_with_a_backslash": ("touch 'a\\b' 'c\\b'", {"a\\b": b"", "c\\b": b""}),
    "hard_link_to_an_input": ("ln /files/in hard", {"hard": b"input"}),
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
    "a_link_to_the_hosts_etc": ("rm -rf /files/output; ln -s /etc /files/output", "output", f"/: {LEADS_OUT}"),
    "a_link_to_the_workers_folder": ("rm -rf /files/output; ln -s .. /files/output", "output", f"/: {LEADS_OUT}"),
    "below_a_link": ("rm -rf /files/a; mkdir /files/b; ln -s b /files/a", "a/c", "/: is a link to nothing"),
    "a_fifo": ("rm -rf /files/output; mkfifo /files/output", "output", "/output: is a FIFO"),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_output_folder_that_has_become_something_else_is_not_entered(victim: Victim, what: str) -> None:
    line, folder, told = FOLDERS[what]
    fate = victim.attack(line, up={"output": folder})
    assert fate.status == "finished"
    assert set(fate.outputs) == {LEFT_OUT}
    assert f"{folder}{told}" in fate.left_out
    assert f"{folder}{told}" in fate.told


WITHIN = {
    "a_link": ("rm -rf /files/output; mkdir /files/b; echo x > /files/b/x; ln -s b /files/output", "output", "x"),
    "below_a_link": ("rm -rf /files/a; mkdir -p /files/b/c; echo x > /files/b/c/x; ln -s b /files/a", "a/c", "x"),
    "a_file": ("rm -rf /files/output; echo x > /files/output", "output", "output"),
}


@pytest.mark.parametrize("what", WITHIN)
def test_output_folder_that_has_become_something_else_of_the_jobs_files_arrives(victim: Victim, what: str) -> None:
    line, folder, name = WITHIN[what]
    fate = victim.attack(line, up={"output": folder})
    assert (fate.status, fate.outputs) == ("finished", {f"output/{folder}/{name}": b"x\n"})


def test_job_that_deletes_all_of_its_files_has_no_outputs(victim: Victim) -> None:
    fate = victim.attack("rm -rf /files/*", files={"a/b": b""}, up={"output": "output"})
    assert (fate.status, fate.outputs) == ("finished", {})
    assert "The job left no file in its output folder 'output'." in fate.told


def test_more_outputs_than_allowed_arrive_up_to_that_size(victim: Victim) -> None:
    """`MAX_OUTPUT_GIB` is 100 by default, and S3 takes 5 GiB at once: a hundred sparse files cost neither."""
    line = "cd /files/output; for i in $(seq 100); do truncate -s 6G $i; done; echo kept > 0"
    fate = victim.attack(line, up={"output": "output"})
    assert fate.status == "error"
    assert fate.outputs["output/output/0"] == b"kept\n"
    assert "and the storage takes 5 GiB at most" in fate.told
    assert fate.left_out.count("is beyond MAX_OUTPUT_GIB") == 84
