"""Whatever ends the thread of a call to an address is its reason."""

from consumers.verbs.notify import address_calls
from consumers.verbs.notify.address_calls import Call, Sending


def test_an_error_that_nobody_expected_is_the_reason_of_the_call(monkeypatch, caplog):
    monkeypatch.setattr(address_calls, "addresses", lambda _address: {}["url"])
    call = Call("storage-team", "ref:file:/x")

    Sending({}).start([call])

    assert call.ended.wait(10)
    assert (call.reason, call.hopeless) == ("KeyError: 'url'", False)
    assert "storage-team" in str(caplog.records[0].__dict__["contact"])
