"""A client of the gateway in Python: `client.py tour` shows calls, errors and retries against the
sandbox; `client.py watch` writes and watches until somebody attaches the key "python-stop".
"""

import os
import pathlib
import random
import sys
import threading
import time
import urllib.request
import uuid

sys.path.append(str(pathlib.Path(__file__).parent / "gen"))

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from contactcenter.v1 import sms_session_data_pb2 as pb
from contactcenter.v1 import sms_session_data_pb2_grpc as services

SESSION = "0071023821aec011"  # one that the sandbox has
SERVICE_CONFIG = pathlib.Path(__file__).parents[2] / "docs" / "service-config.json"

# What a careless owner might configure: to repeat an attach whose outcome is not known.
CARELESS = """{"methodConfig": [{
    "name": [{"service": "contactcenter.v1.SmsSessionData", "method": "AttachUserData"}],
    "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.2s", "maxBackoff": "2s",
        "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE", "UNKNOWN"]}}]}"""

# The vendor does the next attach, and its answer is lost.
LOST = """[{"operation": "AttachUserData", "times": 1, "stage": "after",
    "fault": {"kind": "reset"}}]"""


def main():
    sms = connect(SERVICE_CONFIG.read_text())
    if sys.argv[1:] == ["watch"]:
        watch(sms)
    else:
        confirmed(sms)
        refused(sms)
        absent(sms)
        retried(sms)
        stopped(connect(CARELESS))
        settled(sms)


def connect(service_config):
    # One channel for the whole process, which is what makes it cheap; the service config makes it
    # repeat what may be repeated, and honour grpc-retry-pushback-ms.
    address = os.environ.get("GATEWAY", "127.0.0.1:50051")
    options = [
        ("grpc.service_config", service_config),
        # The library waits up to two minutes between attempts to connect otherwise.
        ("grpc.max_reconnect_backoff_ms", 2000),
        # A stream over a network that fails without a word would be silent for ever.
        ("grpc.keepalive_time_ms", 20000),
        ("grpc.keepalive_timeout_ms", 10000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if "CA" in os.environ:
        credentials = grpc.ssl_channel_credentials(pathlib.Path(os.environ["CA"]).read_bytes())
        if "TOKEN_FILE" in os.environ:
            of_calls = grpc.metadata_call_credentials(bearer)
            credentials = grpc.composite_channel_credentials(credentials, of_calls)
        channel = grpc.secure_channel(address, credentials, options)
    else:
        channel = grpc.insecure_channel(address, options)
    return services.SmsSessionDataStub(channel)


def bearer(_, callback):
    """The token in a file, which is read for each call anew: another one is there before it expires."""
    token = pathlib.Path(os.environ["TOKEN_FILE"]).read_text().strip()
    callback([("authorization", f"Bearer {token}")], None)


def confirmed(sms):
    """Returns when the vendor shows the data in place, not when it merely took it."""
    request = attach("python-tour", str(uuid.uuid4()))
    request.confirmation = pb.CONFIRMATION_CONFIRMED
    request.request_id = str(uuid.uuid4())
    # Without a deadline the gateway's default would hold; the caller knows better how long it can
    # wait.
    answer = sms.AttachUserData(request, timeout=5)
    expect("attach", answer.outcome, pb.OUTCOME_CONFIRMED)
    seen = answer.session.user_data["python-tour"]
    expect("attached", seen, request.user_data["python-tour"])
    # The same request_id again: the first one's answer, and the vendor hears nothing of it.
    _, call = sms.AttachUserData.with_call(request, timeout=5)
    expect("sent again", dict(call.initial_metadata())["x-switchboard-attempts"], "0")


def refused(sms):
    """A request that breaks rules is refused with every wrong field, so a form can mark them."""
    error = failure(
        sms.DeleteUserData, pb.DeleteUserDataRequest(session_id="..", keys=["a", "a", ""])
    )
    expect("refused", detail(error, error_details_pb2.ErrorInfo).reason, "INVALID_FIELD")
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    expect("fields", {it.field for it in violations}, {"session_id", "keys[1]", "keys[2]"})


def absent(sms):
    """Decide by code and reason; the message is for people. Metadata has the vendor's facts."""
    error = failure(sms.GetSession, pb.GetSessionRequest(session_id="absent"))
    expect("absent", error.code(), grpc.StatusCode.NOT_FOUND)
    info = detail(error, error_details_pb2.ErrorInfo)
    expect("reason", info.reason, "VENDOR_NOT_FOUND")
    expect("vendor", info.metadata["vendor"], "genesys")


def retried(sms):
    """The gateway gives up after three attempts; the channel calls once more, as the service
    config says, and that call needs one."""
    fault("""[{"operation": "GetSession", "times": 3,
        "fault": {"kind": "status", "status": 503}}]""")
    _, call = sms.GetSession.with_call(pb.GetSessionRequest(session_id=SESSION))
    metadata = dict(call.initial_metadata())
    expect("attempts of the last", metadata["x-switchboard-attempts"], "1")


def stopped(careless):
    """The vendor may have done it: the gateway says so with a pushback of -1, and then not even a
    channel that is told to repeat UNKNOWN does. If it did, the second call would succeed here."""
    fault(LOST)
    error = failure(careless.AttachUserData, attach("python-stopped", str(uuid.uuid4())))
    expect("lost", error.code(), grpc.StatusCode.UNKNOWN)
    expect("reason", detail(error, error_details_pb2.ErrorInfo).reason, "OUTCOME_UNKNOWN")
    expect("pushback", pushback(error), -1)


def settled(sms):
    """Under a request_id the gateway finds out what became of it: the same call again, to be
    confirmed. It looks, and does not attach a second time."""
    fault(LOST)
    request = attach("python-settled", str(uuid.uuid4()))
    request.request_id = str(uuid.uuid4())
    error = failure(sms.AttachUserData, request)
    expect("in doubt", detail(error, error_details_pb2.ErrorInfo).reason, "OUTCOME_UNKNOWN")
    request.confirmation = pb.CONFIRMATION_CONFIRMED
    answer = sms.AttachUserData(request, timeout=5)
    expect("settled", answer.outcome, pb.OUTCOME_CONFIRMED)


def watch(sms):
    """A view of the sessions, and the writer whose work it shows."""
    view = View()
    threading.Thread(target=view.follow, args=[sms], daemon=True).start()
    written = 0
    give_up = time.monotonic() + 120
    while "python-stop" not in view.keys():
        written += 1
        attach_repeating(sms, attach(f"python-{written}", "x"), give_up)
        time.sleep(0.2)
    while f"python-{written}" not in view.keys():
        view.wait(give_up - time.monotonic())
    print("written", written)
    print("view", *view.keys())


def attach_repeating(sms, request, give_up):
    """Repeats under one request_id, so that it is done once however often it is called. That is
    what makes repeating an attach safe, and why no service config does it: there would be no id."""
    request.request_id = str(uuid.uuid4())
    attempt = 0
    while True:
        try:
            return sms.AttachUserData(request, timeout=5)
        except grpc.RpcError as error:
            said = pushback(error)
            passing = [
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            ]
            if error.code() not in passing or said == -1 or time.monotonic() > give_up:
                raise
            # An answer about the vendor is kept under its id, and says that nothing was done: a
            # fresh id asks anew. Anything else leaves open what became of the first call: same id.
            info = detail(error, error_details_pb2.ErrorInfo)
            if info and "vendor" in info.metadata:
                request.request_id = str(uuid.uuid4())
            # RetryInfo says when it is worth another call, such as when an open circuit lets one
            # through.
            retry = detail(error, error_details_pb2.RetryInfo)
            wait = (retry.retry_delay.ToMilliseconds() if retry else 0) + 1000 * backoff(attempt)
            wait = wait if said is None else said
            print(f"repeat in {wait:.0f} ms:", error.code(), error.details(), flush=True)
            time.sleep(wait / 1000)
            attempt += 1


class View:
    def __init__(self):
        self.sessions = {}
        self.changed = threading.Condition()

    def follow(self, sms):
        """A stream ends when the gateway restarts, when the connection breaks, when the vendor's
        notifications cannot be had: open it again, always. It begins with the whole state."""
        attempt = 0
        while True:
            try:
                for event in sms.WatchSessions(pb.WatchSessionsRequest()):
                    attempt = 0
                    self.apply(event)
            except grpc.RpcError as error:
                print("reopen", error.code(), error.details(), flush=True)
            # Jittered, so that not all clients come back to a restarted gateway at once.
            time.sleep(backoff(attempt))
            attempt += 1

    def apply(self, event):
        with self.changed:
            if event.WhichOneof("event") == "snapshot":
                # STARTED or GAP: what is not in it is not there any more.
                self.sessions = {session.id: session for session in event.snapshot.sessions}
                reason = pb.SessionsSnapshot.Reason.Name(event.snapshot.reason)
                print("snapshot", reason, flush=True)
            else:
                told = event.notification.session
                known = self.sessions.get(told.id)
                # An Error tells that a write failed after all, so that nothing has changed. And not
                # every notification names a session.
                if event.notification.notification_type != "Error" and told.id:
                    # Without user data it tells of something else, and says nothing about the data.
                    if known and not told.HasField("user_data"):
                        told.user_data.CopyFrom(known.user_data)
                    self.sessions[told.id] = known = told
                state = known.state if known else ""
                print("notification", event.notification.notification_type, state, flush=True)
            self.changed.notify_all()

    def keys(self):
        with self.changed:
            session = self.sessions.get(SESSION)
            data = session.user_data if session else {}
            return sorted(key for key in data if key.startswith("python-"))

    def wait(self, seconds):
        with self.changed:
            if not self.changed.wait(max(seconds, 0)):
                sys.exit("the view does not show what was written")


def failure(method, request):
    try:
        answer = method(request, timeout=5)
    except grpc.RpcError as error:
        return error
    sys.exit(f"not refused: {answer}")


def detail(error, kind):
    """One of the google.rpc messages that came with an error, such as ErrorInfo."""
    status = rpc_status.from_call(error)
    for packed in status.details if status else []:
        found = kind()
        if packed.Unpack(found):
            return found
    return None


def pushback(error):
    """The milliseconds to wait; -1: do not repeat; None: nothing was said."""
    said = dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms")
    if said is None:
        return None
    return int(said) if said.isdecimal() else -1


def attach(key, value):
    request = pb.AttachUserDataRequest(session_id=SESSION)
    request.user_data[key] = value
    return request


def backoff(attempt):
    """Full jitter: somewhere between nothing and a bound that doubles from 0.2 s to 2 s."""
    return random.uniform(0, min(0.2 * 2 ** min(attempt, 4), 2))


def expect(what, value, wanted):
    if value != wanted:
        sys.exit(f"{what}: {value} instead of {wanted}")
    print("ok", what, value)


def fault(rules):
    """Lets the simulated vendor fail; nothing that a client of a real gateway could do."""
    control = os.environ.get("CONTROL", "http://127.0.0.1:50052")
    request = urllib.request.Request(control + "/faults", rules.encode(), method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


if __name__ == "__main__":
    main()
