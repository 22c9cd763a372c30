// A caller of switchboard in TypeScript: `node dist/main.js tour` shows what a caller has to know,
// `node dist/main.js restart` keeps writing and watching while the gateway is restarted. It ends with
// 0 only if all went well.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { credentials, Metadata, status, type ServiceError } from "@grpc/grpc-js";

import {
  Confirmation,
  Outcome,
  outcomeToJSON,
  SessionsSnapshot_Reason,
  SmsSessionDataClient,
  type AttachUserDataRequest,
  type AttachUserDataResponse,
  type SmsSession,
  type WatchSessionsResponse,
} from "./generated/contactcenter/v1/sms_session_data.js";
import { BadRequest, ErrorInfo, RetryInfo } from "./generated/google/rpc/error_details.js";
import { Status } from "./generated/google/rpc/status.js";

const SESSION = "0071023821aec011";
const GATEWAY = process.env.SWITCHBOARD ?? "127.0.0.1:50051";
const CONTROL = process.env.SANDBOX_CONTROL ?? "http://127.0.0.1:50052";
const SERVICE_CONFIG = process.env.SERVICE_CONFIG ?? "../../docs/service-config.json";

// Asking again changes nothing.
const HOPELESS = [
  status.INVALID_ARGUMENT,
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
  status.UNIMPLEMENTED,
];

// A retry policy that nobody should have: it repeats a write of which nobody knows whether it was
// done. The gateway's pushback of -1 stops it all the same.
const CARELESS = JSON.stringify({
  methodConfig: [{
    name: [{ service: "contactcenter.v1.SmsSessionData", method: "AttachUserData" }],
    retryPolicy: {
      maxAttempts: 4,
      initialBackoff: "0.05s",
      maxBackoff: "0.1s",
      backoffMultiplier: 1,
      retryableStatusCodes: ["UNKNOWN"],
    },
  }],
});

type Client = SmsSessionDataClient;

function dial(serviceConfig: string): Client {
  return new SmsSessionDataClient(GATEWAY, credentials.createInsecure(), {
    "grpc.service_config": serviceConfig,
    // A stream says nothing for hours; pings find out that its peer is gone.
    "grpc.keepalive_time_ms": 30_000,
    // After a restart, not two minutes later.
    "grpc.max_reconnect_backoff_ms": 5_000,
  });
}

const within = (seconds: number) => ({ deadline: Date.now() + seconds * 1000 });

// The generated methods take callbacks.
function promise<A>(call: (done: (error: ServiceError | null, answer: A) => void) => unknown) {
  return new Promise<A>((resolve, reject) => {
    call((error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

const attach = (client: Client, seconds: number, request: Partial<AttachUserDataRequest>) =>
  promise<AttachUserDataResponse>((done) =>
    client.attachUserData(
      { sessionId: SESSION, userData: {}, account: "", confirmation: Confirmation.CONFIRMATION_UNSPECIFIED,
        requestId: "", ...request },
      new Metadata(), within(seconds), done));

// Returns when the write was seen in place, not just when the vendor accepted it.
async function confirmedAttach(client: Client) {
  const answer = await attach(client, 5, {
    userData: { NodeKey: "attached" },
    confirmation: Confirmation.CONFIRMATION_CONFIRMED,
    // Of the caller's own making, one per intended write: a repeat gets the first one's result.
    requestId: randomUUID(),
  });
  console.log("attach:", outcomeToJSON(answer.outcome));
  expect(answer.outcome === Outcome.OUTCOME_CONFIRMED, "confirmed");
  expect(answer.session?.userData?.NodeKey === "attached", "seen in place");
}

// Code and reason are for programs, the message is for people.
function details(error: ServiceError) {
  const [raw] = error.metadata.get("grpc-status-details-bin");
  let info = ErrorInfo.fromPartial({});
  let fields: string[] = [];
  let wait = 0;
  for (const { typeUrl, value } of Status.decode(raw as Buffer).details) {
    switch (typeUrl) {
      case "type.googleapis.com/google.rpc.ErrorInfo":
        info = ErrorInfo.decode(value);
        break;
      case "type.googleapis.com/google.rpc.BadRequest":
        fields = BadRequest.decode(value).fieldViolations.map((violation) => violation.field);
        break;
      case "type.googleapis.com/google.rpc.RetryInfo":
        wait = RetryInfo.decode(value).retryDelay?.seconds ?? 0;
        break;
    }
  }
  return { info, fields, wait };
}

async function richErrors(client: Client) {
  const wrong = await refused(promise((done) =>
    client.deleteUserData(
      { sessionId: "..", keys: ["a", "a", ""], account: "", confirmation: 0, requestId: "" },
      new Metadata(), within(5), done)));
  const { info, fields } = details(wrong);
  console.log("refused:", info.reason, fields);
  expect(info.reason === "INVALID_FIELD" && fields.length === 3, "every wrong field");

  await fault([{ operation: "ListSessions", fault: { kind: "throttle", retry_after: "60" } }]);
  const throttled = details(await refused(promise((done) =>
    client.listSessions({ account: "" }, new Metadata(), within(5), done))));
  await fault([]);
  console.log("throttled:", throttled.info.reason, throttled.info.metadata, "come again in", throttled.wait, "s");
  expect(throttled.info.reason === "VENDOR_THROTTLED", "throttled");
  expect(throttled.info.metadata.vendor === "genesys" && throttled.wait > 0, "told when to come again");
}

// The gateway gives up after three attempts; the service config calls it once more.
async function retries(client: Client) {
  await fault([{ operation: "GetSession", times: 3, fault: { kind: "html", status: 503 } }]);
  await promise((done) =>
    client.getSession({ sessionId: SESSION, account: "" }, new Metadata(), within(10), done));
  const times = await sent("GetSession");
  console.log("retried by service config: the vendor was asked", times, "times");
  expect(times === 4, "one retry by the client");
}

async function pushback(client: Client) {
  await fault([{ operation: "AttachUserData", stage: "after", fault: { kind: "reset" } }]);
  const error = await refused(attach(client, 5, { userData: { NodePushback: "once" } }));
  const times = await sent("AttachUserData");
  await fault([]);
  const { reason } = details(error).info;
  console.log("lost:", status[error.code], reason, pushed(error), "sent", times);
  expect(reason === "OUTCOME_UNKNOWN" && times === 1, "pushback -1 stops retries");
}

// A loss of notifications is told by a snapshot.
async function gap(client: Client) {
  const view = new View(client);
  await view.until("REASON_STARTED", () => view.started === 1);
  await control("POST", "/genesys/fail-over");
  await view.until("REASON_GAP", () => view.gaps === 1);
}

// Writes and watches until the stream has begun anew and three more writes are done.
async function restart(client: Client) {
  const view = new View(client);
  await view.until("the first snapshot", () => view.started === 1);
  const keys: string[] = [];
  for (let after = 0; after < 3; after += view.started > 1 ? 1 : 0) {
    keys.push(`node-${keys.length + 1}`);
    await attachOnce(client, keys[keys.length - 1]);
    console.log("wrote", keys.length);
    await sleep(100); // A caller's own pace, so that the restart falls between writes.
  }
  await view.until("every write", () =>
    keys.every((key) => view.sessions.get(SESSION)?.userData?.[key] === "written"));
  console.log("node: the view is whole after the restart");
}

// No service config can know of request_ids, so the caller itself repeats an attach that has one.
async function attachOnce(client: Client, key: string) {
  const request = { userData: { [key]: "written" }, requestId: randomUUID() };
  const end = Date.now() + 60_000;
  for (let attempt = 0; ; attempt++) {
    try {
      return await attach(client, 5, request);
    } catch (caught) {
      const error = caught as ServiceError;
      const told = pushed(error);
      if (error.code !== status.UNAVAILABLE || told?.startsWith("-") || Date.now() > end) throw error;
      await sleep(told ? Number(told) : backoff(attempt));
    }
  }
}

// Full jitter: callers that lost the same gateway must not all come back at the same moment.
const backoff = (attempt: number) => Math.random() * Math.min(200 * 2 ** attempt, 5_000);

// The sessions as the stream tells them; opened again for as long as the caller wants it.
class View {
  sessions = new Map<string, SmsSession>();
  started = 0;
  gaps = 0;
  private changed = () => {};

  constructor(private client: Client) {
    this.watch().catch((error) => { console.error(error); process.exit(1); });
  }

  private async watch() {
    for (let attempt = 0; ; attempt++) {
      try {
        for await (const event of this.client.watchSessions({ account: "", sessionIds: [] })) {
          attempt = 0;
          this.apply(event as WatchSessionsResponse);
          this.changed();
        }
      } catch (caught) {
        const error = caught as ServiceError;
        if (HOPELESS.includes(error.code)) throw error;
        console.log("watch ended, opened again:", status[error.code]);
      }
      await sleep(backoff(attempt));
    }
  }

  private apply({ snapshot, notification }: WatchSessionsResponse) {
    if (snapshot) {
      // Whatever was known before may be wrong by now.
      this.sessions = new Map(snapshot.sessions.map((session) => [session.id, session]));
      if (snapshot.reason === SessionsSnapshot_Reason.REASON_STARTED) this.started++;
      if (snapshot.reason === SessionsSnapshot_Reason.REASON_GAP) this.gaps++;
    } else if (notification?.session?.userData) {
      // The whole of the user data, not a change. Other fields are not needed here.
      const told = notification.session;
      const known = this.sessions.get(told.id) ?? told;
      this.sessions.set(told.id, { ...known, userData: told.userData });
    }
  }

  async until(what: string, condition: () => boolean) {
    const late = setTimeout(() => expect(false, `never seen: ${what}`), 90_000);
    while (!condition()) await new Promise<void>((resolve) => (this.changed = resolve));
    clearTimeout(late);
    console.log("seen:", what);
  }
}

const refused = (call: Promise<unknown>): Promise<ServiceError> =>
  call.then(() => { throw new Error("not refused"); }, (error) => error);

const pushed = (error: ServiceError) => error.metadata.get("grpc-retry-pushback-ms")[0]?.toString();

function expect(holds: boolean, what: string) {
  if (holds) return;
  console.error("not as expected:", what);
  process.exit(1);
}

// The rest is about the sandbox: faults to rehearse with, and what its vendor was sent.

async function fault(rules: object[]) {
  await control("PUT", "/faults", JSON.stringify(rules));
  if (rules.length > 0) await control("DELETE", "/requests");
}

const sent = async (operation: string): Promise<number> =>
  JSON.parse(await control("GET", `/requests?operation=${operation}`)).length;

async function control(method: string, path: string, body?: string) {
  const answer = await fetch(CONTROL + path, { method, body });
  const text = await answer.text();
  expect(answer.ok, `${method} ${path}: ${text}`);
  return text;
}

const client = dial(readFileSync(SERVICE_CONFIG, "utf8"));
if (process.argv[2] === "restart") {
  await restart(client);
} else {
  await confirmedAttach(client);
  await richErrors(client);
  await retries(client);
  await pushback(dial(CARELESS));
  await gap(client);
  console.log("node: all went as expected");
}
// The stream would go on for as long as the process.
process.exit(0);
