"""Problem texts of the workers and of `tenantry up`: the cause and the remedy of each code."""

from domain.problem_text import add_texts

add_texts(
    {
        "data-directory-unusable": (
            "the data directory {data_dir} cannot be used: {reason}{named}",
            "name another --data-dir, or free some space and give it to this user",
        ),
        "effects-hang": ("{most_left_behind} effects hang", "start this worker again, and see which steps time out"),
        "embedded-part-died": (
            "the embedded {name} has died, so everything ends",
            "start `tenantry up` again, nothing that was recorded is lost; its last words are in {data_dir}",
        ),
        "message-stuck": (
            "a message can be neither taken in nor quarantined",
            "{name}, fingerprint {latest}; nothing is lost, it is tried again",
        ),
        "metrics-address": (
            "metrics cannot be served on {address}:{port}: {reason}",
            "set another TENANTRY_METRICS_PORT or TENANTRY_METRICS_ADDRESS",
        ),
        "tenantry-runs-already": ("a Tenantry runs in {data_dir} already", "stop it first, or name another --data-dir"),
        "worker-ended": ("the {kind} ended at its start", "{worker}"),
        "temporary-folder-too-long": (
            "a Unix socket in the folder for temporary files, {folder}, has too long a path",
            "set TMPDIR to a folder with a shorter one",
        ),
        "workers-not-ready": ("not ready after {ready_seconds} s", "{late}; see {data_dir}"),
    }
)
