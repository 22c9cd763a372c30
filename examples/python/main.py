"""A caller of switchboard in Python: `python main.py tour` shows what a caller has to know,
`python main.py restart` keeps writing and watching while the gateway is restarted. It ends with 0
only if all went well."""

import json
import os
import random
import sys
import threading
import time
import urllib.request
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# The packages of the protos lie beside this file; see README.md.
from contactcenter.v1 import sms_session_data_pb2 as pb
from contactcenter.v1 import sms_session_data_pb2_grpc as rpc

SESSION = "0071023821aec011"
GATEWAY = os.environ.get("SWITCHBOARD", "127.0.0.1:50051")
CONTROL = os.environ.get("SANDBOX_CONTROL", "http://127.0.0.1:50052")
SERVICE_CONFIG = os.environ.get("SERVICE_CONFIG", "../../docs/service-config.json")

# Asking again changes nothing.
HOPELESS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}

# A retry policy that nobody should have: it repeats a write of which nobody knows whether it was
# done. The gateway's pushback of -1 stops it all the same.
CARELESS = json.dumps({"methodConfig": [{
    "name": [{"service": "contactcenter.v1.SmsSessionData", "method": "AttachUserData"}],
    "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "0.1s",
                    "backoffMultiplier": 1, "retryableStatusCodes": ["UNKNOWN"]},
}]})


def dial(service_config):
    channel = grpc.insecure_channel(GATEWAY, options=[
        ("grpc.service_config", service_config),
        # A stream says nothing for hours; pings find out that its peer is gone.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.http2.max_pings_without_data", 0),
        # After a restart, not two minutes later.
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ])
    return rpc.SmsSessionDataStub(channel)


def confirmed_attach(client):
    """Returns when the write was seen in place, not just when the vendor accepted it."""
    answer = client.AttachUserData(pb.AttachUserDataRequest(
        session_id=SESSION,
        user_data={"PythonKey": "attached"},
        confirmation=pb.CONFIRMATION_CONFIRMED,
        # Of the caller's own making, one per intended write: a repeat gets the first one's result.
        request_id=str(uuid.uuid4()),
    ), timeout=5)
    print("attach:", pb.Outcome.Name(answer.outcome))
    expect(answer.outcome == pb.OUTCOME_CONFIRMED, "confirmed")
    expect(answer.session.user_data["PythonKey"] == "attached", "seen in place")


def details(error):
    """Code and reason are for programs, the message is for people."""
    info, fields, wait = error_details_pb2.ErrorInfo(), [], 0
    for detail in rpc_status.from_call(error).details:
        if detail.Unpack(info):
            continue
        bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(bad):
            fields = [violation.field for violation in bad.field_violations]
        elif detail.Unpack(retry):
            wait = retry.retry_delay.ToMilliseconds() / 1000
    return info, fields, wait


def rich_errors(client):
    wrong = pb.DeleteUserDataRequest(session_id="..", keys=["a", "a", ""])
    info, fields, _ = details(refused(client.DeleteUserData, wrong))
    print("refused:", info.reason, fields)
    expect(info.reason == "INVALID_FIELD" and len(fields) == 3, "every wrong field")

    fault([{"operation": "ListSessions", "fault": {"kind": "throttle", "retry_after": "60"}}])
    info, _, wait = details(refused(client.ListSessions, pb.ListSessionsRequest()))
    fault([])
    print("throttled:", info.reason, dict(info.metadata), "come again in", wait, "s")
    expect(info.reason == "VENDOR_THROTTLED", "throttled")
    expect(info.metadata["vendor"] == "genesys" and wait > 0, "told when to come again")


def retries(client):
    """The gateway gives up after three attempts; the service config calls it once more."""
    fault([{"operation": "GetSession", "times": 3, "fault": {"kind": "html", "status": 503}}])
    client.GetSession(pb.GetSessionRequest(session_id=SESSION), timeout=10)
    times = sent("GetSession")
    print("retried by service config: the vendor was asked", times, "times")
    expect(times == 4, "one retry by the client")


def pushback(client):
    fault([{"operation": "AttachUserData", "stage": "after", "fault": {"kind": "reset"}}])
    error = refused(client.AttachUserData, pb.AttachUserDataRequest(
        session_id=SESSION, user_data={"PythonPushback": "once"}))
    times = sent("AttachUserData")
    fault([])
    info, _, _ = details(error)
    print("lost:", error.code().name, info.reason, pushed(error), "sent", times)
    expect(info.reason == "OUTCOME_UNKNOWN" and times == 1, "pushback -1 stops retries")


def gap(client):
    """A loss of notifications is told by a snapshot."""
    view = View(client)
    view.until("REASON_STARTED", lambda: view.started == 1)
    control("POST", "/genesys/fail-over")
    view.until("REASON_GAP", lambda: view.gaps == 1)


def restart(client):
    """Writes and watches until the stream has begun anew and three more writes are done."""
    view = View(client)
    view.until("the first snapshot", lambda: view.started == 1)
    keys, after = [], 0
    while after < 3:
        keys.append(f"python-{len(keys) + 1}")
        attach_once(client, keys[-1])
        print("wrote", len(keys), flush=True)
        after += view.started > 1
        time.sleep(0.1)  # A caller's own pace, so that the restart falls between writes.
    view.until("every write", lambda: all(
        view.sessions[SESSION].user_data.fields[key].string_value == "written" for key in keys))
    print("python: the view is whole after the restart")


def attach_once(client, key):
    """No service config can know of request_ids, so the caller itself repeats an attach that has one."""
    request = pb.AttachUserDataRequest(
        session_id=SESSION, user_data={key: "written"}, request_id=str(uuid.uuid4()))
    end, attempt = time.monotonic() + 60, 0
    while True:
        try:
            return client.AttachUserData(request, timeout=5)
        except grpc.RpcError as error:
            told = pushed(error)
            if (error.code() != grpc.StatusCode.UNAVAILABLE or (told or "").startswith("-")
                    or time.monotonic() > end):
                raise
            time.sleep(int(told) / 1000 if told else backoff(attempt))
            attempt += 1


def backoff(attempt):
    """Full jitter: callers that lost the same gateway must not all come back at the same moment."""
    return random.uniform(0, min(0.2 * 2**min(attempt, 5), 5))


class View:
    """The sessions as the stream tells them; opened again for as long as the caller wants it."""

    def __init__(self, client):
        self.client, self.sessions, self.started, self.gaps = client, {}, 0, 0
        self.changed = threading.Condition()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        attempt = 0
        while True:
            try:
                for event in self.client.WatchSessions(pb.WatchSessionsRequest()):
                    attempt = 0
                    with self.changed:
                        self.apply(event)
                        self.changed.notify_all()
            except grpc.RpcError as error:
                if error.code() in HOPELESS:
                    raise
                print("watch ended, opened again:", error.code().name, flush=True)
            time.sleep(backoff(attempt))
            attempt += 1

    def apply(self, event):
        if event.HasField("snapshot"):
            # Whatever was known before may be wrong by now.
            self.sessions = {session.id: session for session in event.snapshot.sessions}
            self.started += event.snapshot.reason == pb.SessionsSnapshot.REASON_STARTED
            self.gaps += event.snapshot.reason == pb.SessionsSnapshot.REASON_GAP
        elif event.notification.session.HasField("user_data"):
            # The whole of the user data, not a change. Other fields are not needed here.
            told = event.notification.session
            self.sessions.setdefault(told.id, told).user_data.CopyFrom(told.user_data)

    def until(self, what, condition):
        with self.changed:
            expect(self.changed.wait_for(condition, timeout=90), what)
        print("seen:", what, flush=True)


def refused(method, request):
    try:
        method(request, timeout=5)
    except grpc.RpcError as error:
        return error
    sys.exit(f"not refused: {request}")


def pushed(error):
    return dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms")


def expect(holds, what):
    if not holds:
        sys.exit(f"not as expected: {what}")


# The rest is about the sandbox: faults to rehearse with, and what its vendor was sent.

def fault(rules):
    control("PUT", "/faults", json.dumps(rules))
    if rules:
        control("DELETE", "/requests")


def sent(operation):
    return len(json.loads(control("GET", f"/requests?operation={operation}")))


def control(method, path, body=""):
    request = urllib.request.Request(CONTROL + path, data=body.encode(), method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


if __name__ == "__main__":
    if sys.argv[1:] == ["restart"]:
        restart(dial(open(SERVICE_CONFIG).read()))
    else:
        tour = dial(open(SERVICE_CONFIG).read())
        confirmed_attach(tour)
        rich_errors(tour)
        retries(tour)
        pushback(dial(CARELESS))
        gap(tour)
        print("python: all went as expected")
