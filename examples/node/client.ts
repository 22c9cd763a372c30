// A client of the gateway in TypeScript: `npm run tour` shows calls, errors and retries against
// the sandbox; `npm run watch` writes and watches until somebody attaches the key "node-stop".

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import {
  CallOptions,
  ClientUnaryCall,
  credentials,
  Metadata,
  ServiceError,
  status,
} from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "nice-grpc-error-details";
import { Status } from "nice-grpc-error-details/lib/proto/google/rpc/status";

import {
  AttachUserDataRequest,
  AttachUserDataResponse,
  Confirmation,
  DeleteUserDataRequest,
  DeleteUserDataResponse,
  GetSessionRequest,
  GetSessionResponse,
  Outcome,
  SessionsSnapshot_Reason,
  SmsSession,
  SmsSessionDataClient,
  WatchSessionsRequest,
  WatchSessionsResponse,
} from "./gen/contactcenter/v1/sms_session_data";

const SESSION = "0071023821aec011"; // one that the sandbox has
const SERVICE_CONFIG = readFileSync("../../docs/service-config.json", "utf8");

// What a careless owner might configure: to repeat an attach whose outcome is not known.
const CARELESS = `{"methodConfig": [{
  "name": [{"service": "contactcenter.v1.SmsSessionData", "method": "AttachUserData"}],
  "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.2s", "maxBackoff": "2s",
    "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE", "UNKNOWN"]}}]}`;

// The vendor does the next attach, and its answer is lost.
const LOST = `[{"operation": "AttachUserData", "times": 1, "stage": "after",
  "fault": {"kind": "reset"}}]`;

async function main() {
  const sms = connect(SERVICE_CONFIG);
  if (process.argv[2] === "watch") {
    await watch(sms);
  } else {
    await confirmed(sms);
    await refused(sms);
    await absent(sms);
    await retried(sms);
    await stopped(connect(CARELESS));
    await settled(sms);
  }
  process.exit();
}

// One client for the whole process, which is what makes it cheap; the service config makes it
// repeat what may be repeated, and honour grpc-retry-pushback-ms.
function connect(serviceConfig: string) {
  const address = process.env.GATEWAY ?? "127.0.0.1:50051";
  const { CA: ca, TOKEN_FILE: tokenFile } = process.env;
  let transport = ca ? credentials.createSsl(readFileSync(ca)) : credentials.createInsecure();
  if (ca && tokenFile) {
    transport = credentials.combineChannelCredentials(transport, bearer(tokenFile));
  }
  return new SmsSessionDataClient(address, transport, {
    "grpc.service_config": serviceConfig,
    // The library waits up to two minutes between attempts to connect otherwise.
    "grpc.max_reconnect_backoff_ms": 2000,
    // A stream over a network that fails without a word would be silent for ever.
    "grpc.keepalive_time_ms": 20000,
    "grpc.keepalive_timeout_ms": 10000,
  });
}

// The token in a file, which is read for each call anew: another one is there before it expires.
function bearer(file: string) {
  return credentials.createFromMetadataGenerator((_, callback) => {
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${readFileSync(file, "utf8").trim()}`);
    callback(null, metadata);
  });
}

// A confirmed attach returns when the vendor shows the data in place, not when it merely took it.
async function confirmed(sms: SmsSessionDataClient) {
  const request = attach("node-tour", randomUUID());
  request.confirmation = Confirmation.CONFIRMATION_CONFIRMED;
  request.requestId = randomUUID();
  const first = await call(sms, "attachUserData", request);
  expect("attach", first.answer.outcome, Outcome.OUTCOME_CONFIRMED);
  const seen = first.answer.session?.userData?.["node-tour"];
  expect("attached", seen, request.userData?.["node-tour"]);
  // The same request_id again: the first one's answer, and the vendor hears nothing of it.
  const second = await call(sms, "attachUserData", request);
  expect("sent again", second.metadata.get("x-switchboard-attempts")[0], "0");
}

// A request that breaks rules is refused with every wrong field, so a form can mark them all.
async function refused(sms: SmsSessionDataClient) {
  const request = DeleteUserDataRequest.create({ sessionId: "..", keys: ["a", "a", ""] });
  const error = await failure(call(sms, "deleteUserData", request));
  expect("refused", details(error).info?.reason, "INVALID_FIELD");
  const fields = details(error).bad?.fieldViolations.map((it) => it.field).sort();
  expect("fields", fields?.join(" "), "keys[1] keys[2] session_id");
}

// Decide by code and reason; the message is for people. The metadata has the vendor's facts.
async function absent(sms: SmsSessionDataClient) {
  const request = GetSessionRequest.create({ sessionId: "absent" });
  const error = await failure(call(sms, "getSession", request));
  expect("absent", error.code, status.NOT_FOUND);
  expect("reason", details(error).info?.reason, "VENDOR_NOT_FOUND");
  expect("vendor", details(error).info?.metadata.vendor, "genesys");
}

// The gateway gives up after three attempts; the client calls once more, as the service config
// says, and that call needs one.
async function retried(sms: SmsSessionDataClient) {
  await fault(`[{"operation": "GetSession", "times": 3,
    "fault": {"kind": "status", "status": 503}}]`);
  const request = GetSessionRequest.create({ sessionId: SESSION });
  const { metadata } = await call(sms, "getSession", request);
  expect("attempts of the last", metadata.get("x-switchboard-attempts")[0], "1");
}

// The vendor may have done it: the gateway says so with a pushback of -1, and then not even a
// client that is told to repeat UNKNOWN does. If it did, the second call would succeed here.
async function stopped(careless: SmsSessionDataClient) {
  await fault(LOST);
  const request = attach("node-stopped", randomUUID());
  const error = await failure(call(careless, "attachUserData", request));
  expect("lost", error.code, status.UNKNOWN);
  expect("reason", details(error).info?.reason, "OUTCOME_UNKNOWN");
  expect("pushback", pushback(error), -1);
}

// Under a request_id the gateway finds out what became of it: the same call again, to be confirmed.
// It looks, and does not attach a second time.
async function settled(sms: SmsSessionDataClient) {
  await fault(LOST);
  const request = attach("node-settled", randomUUID());
  request.requestId = randomUUID();
  const error = await failure(call(sms, "attachUserData", request));
  expect("in doubt", details(error).info?.reason, "OUTCOME_UNKNOWN");
  request.confirmation = Confirmation.CONFIRMATION_CONFIRMED;
  const { answer } = await call(sms, "attachUserData", request);
  expect("settled", answer.outcome, Outcome.OUTCOME_CONFIRMED);
}

// A view of the sessions, and the writer whose work it shows.
async function watch(sms: SmsSessionDataClient) {
  const view = new View();
  void view.follow(sms);
  const giveUp = Date.now() + 120_000;
  let written = 0;
  while (!view.keys().includes("node-stop")) {
    written += 1;
    await attachRepeating(sms, attach(`node-${written}`, "x"), giveUp);
    await sleep(200);
  }
  while (!view.keys().includes(`node-${written}`)) {
    if (Date.now() > giveUp) throw new Error("the view does not show what was written");
    await sleep(50);
  }
  console.log("written", written);
  console.log("view", ...view.keys());
}

// Repeats under one request_id, so that it is done once however often it is called. That is what
// makes repeating an attach safe, and why no service config does it: there would be no id.
async function attachRepeating(
  sms: SmsSessionDataClient,
  request: AttachUserDataRequest,
  giveUp: number,
): Promise<AttachUserDataResponse> {
  request.requestId = randomUUID();
  for (let attempt = 0; ; attempt += 1) {
    try {
      return (await call(sms, "attachUserData", request)).answer;
    } catch (thrown) {
      const error = thrown as ServiceError;
      const said = pushback(error);
      const passing = [
        status.UNAVAILABLE,
        status.RESOURCE_EXHAUSTED,
        status.DEADLINE_EXCEEDED,
      ].includes(error.code);
      if (!passing || said === -1 || Date.now() > giveUp) throw error;
      // An answer about the vendor is kept under its id, and says that nothing was done: a fresh
      // id asks anew. Anything else leaves open what became of the first call: same id.
      const { info, retry } = details(error);
      if (info?.metadata.vendor) request.requestId = randomUUID();
      // RetryInfo says when it is worth another call, such as when an open circuit lets one through.
      const { seconds, nanos } = retry?.retryDelay ?? { seconds: 0, nanos: 0 };
      const wait = said ?? Math.round(seconds * 1000 + nanos / 1e6 + backoff(attempt));
      console.log(`repeat in ${wait} ms:`, error.message);
      await sleep(wait);
    }
  }
}

class View {
  private sessions = new Map<string, SmsSession>();

  // A stream ends when the gateway restarts, when the connection breaks, when the vendor's
  // notifications cannot be had: open it again, always. It begins with the whole state.
  async follow(sms: SmsSessionDataClient) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        for await (const event of sms.watchSessions(WatchSessionsRequest.create())) {
          attempt = 0;
          this.apply(event);
        }
      } catch (error) {
        console.log("reopen", (error as ServiceError).message);
      }
      // Jittered, so that not all clients come back to a restarted gateway at once.
      await sleep(backoff(attempt));
    }
  }

  private apply({ snapshot, notification }: WatchSessionsResponse) {
    if (snapshot) {
      // STARTED or GAP: what is not in it is not there any more.
      this.sessions = new Map(snapshot.sessions.map((session) => [session.id, session]));
      console.log("snapshot", SessionsSnapshot_Reason[snapshot.reason]);
    } else if (notification?.session) {
      const told = notification.session;
      // An Error tells that a write failed after all, so that nothing has changed.
      if (notification.notificationType !== "Error") {
        // Without user data it tells of something else, and says nothing about the data.
        told.userData ??= this.sessions.get(told.id)?.userData;
        this.sessions.set(told.id, told);
      }
      const state = this.sessions.get(told.id)?.state ?? "";
      console.log("notification", notification.notificationType, state);
    }
  }

  keys() {
    const data = this.sessions.get(SESSION)?.userData ?? {};
    return Object.keys(data).filter((key) => key.startsWith("node-")).sort();
  }
}

// grpc-js calls back; this is what makes a promise of it, for the methods used here.
type Answers = {
  attachUserData: AttachUserDataResponse;
  deleteUserData: DeleteUserDataResponse;
  getSession: GetSessionResponse;
};
type Unary<A> = (
  request: unknown,
  metadata: Metadata,
  options: CallOptions,
  callback: (error: ServiceError | null, answer: A) => void,
) => ClientUnaryCall;

// One unary call as a promise of its answer and its metadata. Without a deadline the gateway's
// default would hold; the caller knows better how long it can wait.
function call<M extends keyof Answers>(sms: SmsSessionDataClient, method: M, request: unknown) {
  return new Promise<{ answer: Answers[M]; metadata: Metadata }>((resolve, reject) => {
    let metadata = new Metadata();
    const options = { deadline: Date.now() + 5000 };
    const unary = sms[method].bind(sms) as Unary<Answers[M]>;
    unary(request, new Metadata(), options, (error, answer) => {
      if (error) reject(error);
      else resolve({ answer, metadata });
    }).on("metadata", (received) => (metadata = received));
  });
}

// The google.rpc messages that came with an error. The library hands them over as bytes.
function details(error: ServiceError): { info?: ErrorInfo; bad?: BadRequest; retry?: RetryInfo } {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const packed = bytes ? Status.decode(bytes as Buffer).details : [];
  const find = (type: string) =>
    packed.find((it) => it.typeUrl === `type.googleapis.com/${type}`)?.value;
  const info = find("google.rpc.ErrorInfo");
  const bad = find("google.rpc.BadRequest");
  const retry = find("google.rpc.RetryInfo");
  return {
    info: info && ErrorInfo.decode(info),
    bad: bad && BadRequest.decode(bad),
    retry: retry && RetryInfo.decode(retry),
  };
}

// The milliseconds to wait; -1: do not repeat; undefined: nothing was said.
function pushback(error: ServiceError): number | undefined {
  const [said] = error.metadata.get("grpc-retry-pushback-ms");
  if (said === undefined) return undefined;
  return /^\d+$/.test(String(said)) ? Number(said) : -1;
}

async function failure(promise: Promise<unknown>): Promise<ServiceError> {
  return promise.then(
    () => Promise.reject(new Error("not refused")),
    (error: ServiceError) => error,
  );
}

function attach(key: string, value: string): AttachUserDataRequest {
  return AttachUserDataRequest.create({ sessionId: SESSION, userData: { [key]: value } });
}

// Full jitter: somewhere between nothing and a bound that doubles from 200 ms to 2 s.
function backoff(attempt: number): number {
  return Math.random() * Math.min(200 * 2 ** attempt, 2000);
}

function expect(what: string, is: unknown, wanted: unknown) {
  if (is !== wanted) throw new Error(`${what}: ${is} instead of ${wanted}`);
  console.log("ok", what, is);
}

// Lets the simulated vendor fail; nothing that a client of a real gateway could do.
async function fault(rules: string) {
  const control = process.env.CONTROL ?? "http://127.0.0.1:50052";
  const answer = await fetch(`${control}/faults`, { method: "PUT", body: rules });
  expect("fault", answer.ok, true);
}

void main().catch((error) => {
  console.error(error);
  process.exit(1);
});
