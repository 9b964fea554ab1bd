"""Events as people write them on command lines."""

import pytest

from router.errors import UnknownEvent, UnknownVariable
from router.model.catalogue import Catalogues
from router.model.event_words import read

SHIPPED = Catalogues.shipped()


@pytest.mark.parametrize("event", [("softQuotaExceeded",), ("gpfs.softQuotaExceeded",), ("gpfs", "softQuotaExceeded")])
def test_the_source_may_be_left_out_or_be_a_word_of_its_own(event):
    written = read([*event, "FSNAME=gpfs1", "quotaOwnerName=a=b"], SHIPPED)

    assert written.event_type.type == "gpfs.softQuotaExceeded"
    assert written.variables == {"fsName": "gpfs1", "quotaOwnerName": "a=b"}


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["softQuotaExceded"], UnknownEvent, "did you mean softQuotaExceeded?"),
        (["gpfs.softQuotaExceded"], UnknownEvent, "did you mean softQuotaExceeded?"),
        (["gpfs"], UnknownEvent, "gpfs is a source: write an event type too, as in gpfs.nodeJoin"),
        (["gpfs", "fsName=gpfs1"], UnknownEvent, "gpfs is a source"),
        (["fsName=gpfs1"], UnknownEvent, "no event type 'fsName=gpfs1'"),
        (["gpfs", "failedJob"], UnknownEvent, "no event type 'gpfs.failedJob'"),
        (["slurm", "jobDone"], UnknownEvent, "no event type 'slurm'"),
        (["mount", "fsName"], UnknownVariable, "'fsName' is not NAME=VALUE"),
        (["mount", "=x"], UnknownVariable, "'=x' is not NAME=VALUE"),
        (["mount", "fsNam=x"], UnknownVariable, "did you mean fsName?"),
        (["mount", "blockUsage=1"], UnknownVariable, "mount cannot have data.blockUsage"),
        (["mount", "fsName=a", "FSNAME=b"], UnknownVariable, "fsName is given twice"),
    ],
)
def test_nonsense_is_refused_with_what_may_be_meant(words, error, said):
    with pytest.raises(error) as raised:
        read(words, SHIPPED)

    assert said in str(raised.value)


@pytest.mark.parametrize("event", [("slurm.jobDone",), ("slurm", "jobDone")])
def test_what_no_catalogue_has_can_be_meant(event):
    written = read([*event, "frame=3"], SHIPPED, unknown_too=True)

    assert (written.event_type.type, written.event_type.category) == ("slurm.jobDone", "unknown")
    assert written.variables == {"frame": "3"}


def test_what_is_meant_to_be_unknown_still_needs_a_source_and_keeps_what_is_known():
    written = read(["mount", "brandNew=1", "fsname=gpfs1"], SHIPPED, unknown_too=True)

    assert written.event_type.type == "gpfs.mount"
    assert written.variables == {"brandNew": "1", "fsName": "gpfs1"}
    with pytest.raises(UnknownEvent, match="names no source"):
        read(["jobDone"], SHIPPED, unknown_too=True)
    with pytest.raises(UnknownVariable, match="is not NAME=VALUE"):
        read(["mount", "fsName"], SHIPPED, unknown_too=True)
