"""What the machine's owner sees: the page, the metrics, `status`, the history of jobs.

It listens to the events of `core.events` and changes nothing: whatever fails here, the jobs go on. It imports from the
rooms below it; nobody but the commands imports it. Its web server is imported only where `STATUS_PORT` is set.
"""
