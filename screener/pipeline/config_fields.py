"""What each option of a scan means and which numbers it takes: said once, for the configuration and the command line.

Apart from the configuration itself, because ``--help`` must not wait for msgspec.
"""

from __future__ import annotations

from typing import NamedTuple


class ConfigField(NamedTuple):
    """Meaning and bounds of one option.

    Attributes
    ----------
    text : str
        One line for ``--help`` and the documentation.
    low, high : int or None
        Least and greatest number that is accepted.
    """

    text: str
    low: int | None = None
    high: int | None = None


THRESHOLD = ConfigField("auto, screening, default, confirmation, or a number.")
ACCEPT_UNCERTIFIED = ConfigField("Use auto although no bound was shown for it.")
PROFILE = ConfigField("Site profile that sets the thresholds, or a folder with one for the model.")
MODEL = ConfigField("Model folder, ONNX file, or name. Default: the model that came along.")
LOG = ConfigField("Audit log. Default: in the user's state folder.")
LIMIT = ConfigField("Files to look at, at most.", low=1)
RESCAN = ConfigField("Score again what was judged before.")
DOCTOR = ConfigField("Who ordered the scan; goes into the log.")
PATIENT_REGEX = ConfigField("One group, found in the relative path, names the patient.")
SETTLE = ConfigField("Seconds for which a file must not have changed.", low=0)
FOLLOW_SYMLINKS = ConfigField("Follow links that stay inside the inbox.")
ISOLATE = ConfigField("Decode in a process of its own: risky, always or never.")
JOBS = ConfigField("Threads. Default, and at most: the cores this process may use.", low=1)
PRECISION = ConfigField("auto, fp32 or int8; auto is fp32 where there is no int8.")
WAIT = ConfigField("Seconds to wait for another scan on the same log.", low=0)
LOG_GROUP = ConfigField("Let this group read and write the log.")
ANCHOR = ConfigField("Write the log's head hash here, out of the log's reach.")
FSYNC_EVERY = ConfigField("Seconds of work that a power cut may take; 0: a batch at most.", low=0)
NICE = ConfigField("Politeness towards other programs.", low=0, high=19)
PSEUDONYMISE = ConfigField("Key file: patients and folders appear under pseudonyms.")
REDACT_PATHS = ConfigField("Rename files and the inbox too; needs --pseudonymise.")
MEASUREMENTS = ConfigField("Log image statistics and compressed features of each slice, for monitoring.")
CLUSTER = ConfigField("Dask scheduler whose workers screen, as tls://host:8786; local:4 for 4 processes here.")
MAX_FAILURES = ConfigField("With --cluster: attempts of workers that may fail before the run ends.", low=0)
GROUP_BY = ConfigField("What makes a study: folder, file, or an expression with one group.")
SHADOW = ConfigField("Also let this model judge, silently, into a log of its own beside the log.")
