package example;

import com.google.gson.Gson;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import contactcenter.v1.SmsSessionDataGrpc;
import contactcenter.v1.SmsSessionDataGrpc.SmsSessionDataBlockingStub;
import contactcenter.v1.SmsSessionDataOuterClass.AttachUserDataRequest;
import contactcenter.v1.SmsSessionDataOuterClass.Confirmation;
import contactcenter.v1.SmsSessionDataOuterClass.DeleteUserDataRequest;
import contactcenter.v1.SmsSessionDataOuterClass.GetSessionRequest;
import contactcenter.v1.SmsSessionDataOuterClass.ListSessionsRequest;
import contactcenter.v1.SmsSessionDataOuterClass.Outcome;
import contactcenter.v1.SmsSessionDataOuterClass.SessionsSnapshot;
import contactcenter.v1.SmsSessionDataOuterClass.SmsSession;
import contactcenter.v1.SmsSessionDataOuterClass.WatchSessionsRequest;
import contactcenter.v1.SmsSessionDataOuterClass.WatchSessionsResponse;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/**
 * A caller of switchboard in Java: {@code tour} shows what a caller has to know, {@code restart}
 * keeps writing and watching while the gateway is restarted. It ends with 0 only if all went well.
 */
public final class Main {
  private static final String SESSION = "0071023821aec011";
  private static final String CONTROL = env("SANDBOX_CONTROL", "http://127.0.0.1:50052");
  private static final Metadata.Key<String> PUSHBACK =
      Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);

  /** Asking again changes nothing. */
  private static final Set<Status.Code> HOPELESS = Set.of(
      Status.Code.INVALID_ARGUMENT, Status.Code.PERMISSION_DENIED,
      Status.Code.UNAUTHENTICATED, Status.Code.UNIMPLEMENTED);

  /**
   * A retry policy that nobody should have: it repeats a write of which nobody knows whether it was
   * done. The gateway's pushback of -1 stops it all the same.
   */
  private static final String CARELESS = """
      {"methodConfig": [{
        "name": [{"service": "contactcenter.v1.SmsSessionData", "method": "AttachUserData"}],
        "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "0.1s",
          "backoffMultiplier": 1, "retryableStatusCodes": ["UNKNOWN"]}}]}""";

  public static void main(String[] arguments) throws Exception {
    var config = Files.readString(Path.of(env("SERVICE_CONFIG", "../../docs/service-config.json")));
    var client = dial(config);
    if (arguments.length > 0 && arguments[0].equals("restart")) {
      restart(client);
    } else {
      confirmedAttach(client);
      richErrors(client);
      retries(client);
      pushback(dial(CARELESS));
      gap(client);
      System.out.println("java: all went as expected");
    }
    System.exit(0); // The stream would go on for as long as the process.
  }

  private static SmsSessionDataBlockingStub dial(String serviceConfig) {
    var channel = Grpc.newChannelBuilder(
            env("SWITCHBOARD", "127.0.0.1:50051"), InsecureChannelCredentials.create())
        .defaultServiceConfig(new Gson().<Map<String, Object>>fromJson(serviceConfig, Map.class))
        .enableRetry()
        // A stream says nothing for hours; pings find out that its peer is gone.
        .keepAliveTime(30, TimeUnit.SECONDS)
        .build();
    return SmsSessionDataGrpc.newBlockingStub(channel);
  }

  /** Returns when the write was seen in place, not just when the vendor accepted it. */
  private static void confirmedAttach(SmsSessionDataBlockingStub client) {
    var answer = within(client, 5).attachUserData(AttachUserDataRequest.newBuilder()
        .setSessionId(SESSION)
        .setUserData(data("JavaKey", "attached"))
        .setConfirmation(Confirmation.CONFIRMATION_CONFIRMED)
        // Of the caller's own making, one per intended write: a repeat gets the first one's result.
        .setRequestId(UUID.randomUUID().toString())
        .build());
    System.out.println("attach: " + answer.getOutcome());
    expect(answer.getOutcome() == Outcome.OUTCOME_CONFIRMED, "confirmed");
    expect(holds(answer.getSession(), "JavaKey", "attached"), "seen in place");
  }

  /** Code and reason are for programs, the message is for people. */
  private static void richErrors(SmsSessionDataBlockingStub client) throws Exception {
    var wrong = details(refused(() -> within(client, 5).deleteUserData(DeleteUserDataRequest
        .newBuilder().setSessionId("..").addKeys("a").addKeys("a").addKeys("").build())));
    System.out.println("refused: " + wrong.info.getReason() + " " + wrong.fields);
    expect(wrong.info.getReason().equals("INVALID_FIELD") && wrong.fields.size() == 3,
        "every wrong field");

    fault("""
        [{"operation": "ListSessions", "fault": {"kind": "throttle", "retry_after": "60"}}]""");
    // gRPC for Java obeys a pushback whatever the code, where a method has a retry policy: it would
    // wait the 60 s and meet the deadline. Without a policy the answer itself is seen.
    var plain = dial("{}");
    var throttled = details(refused(() ->
        within(plain, 5).listSessions(ListSessionsRequest.getDefaultInstance())));
    fault("[]");
    System.out.println("throttled: " + throttled.info.getReason() + " "
        + throttled.info.getMetadataMap() + " come again in " + throttled.delay + " s");
    expect(throttled.info.getReason().equals("VENDOR_THROTTLED"), "throttled");
    expect(throttled.info.getMetadataMap().get("vendor").equals("genesys") && throttled.delay > 0,
        "told when to come again");
  }

  private record Details(ErrorInfo info, List<String> fields, long delay) {}

  private static Details details(StatusRuntimeException error)
      throws InvalidProtocolBufferException {
    var info = ErrorInfo.getDefaultInstance();
    var fields = new ArrayList<String>();
    long wait = 0;
    for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        info = detail.unpack(ErrorInfo.class);
      } else if (detail.is(BadRequest.class)) {
        detail.unpack(BadRequest.class).getFieldViolationsList()
            .forEach(violation -> fields.add(violation.getField()));
      } else if (detail.is(RetryInfo.class)) {
        wait = detail.unpack(RetryInfo.class).getRetryDelay().getSeconds();
      }
    }
    return new Details(info, fields, wait);
  }

  /** The gateway gives up after three attempts; the service config calls it once more. */
  private static void retries(SmsSessionDataBlockingStub client) throws Exception {
    fault("""
        [{"operation": "GetSession", "times": 3, "fault": {"kind": "html", "status": 503}}]""");
    within(client, 10).getSession(GetSessionRequest.newBuilder().setSessionId(SESSION).build());
    var times = sent("GetSession");
    System.out.println("retried by service config: the vendor was asked " + times + " times");
    expect(times == 4, "one retry by the client");
  }

  private static void pushback(SmsSessionDataBlockingStub client) throws Exception {
    fault("""
        [{"operation": "AttachUserData", "stage": "after", "fault": {"kind": "reset"}}]""");
    var error = refused(() -> within(client, 5).attachUserData(attach("JavaPushback", "once", "")));
    var times = sent("AttachUserData");
    fault("[]");
    var reason = details(error).info.getReason();
    System.out.println("lost: " + error.getStatus().getCode() + " " + reason + " " + pushed(error)
        + " sent " + times);
    expect(reason.equals("OUTCOME_UNKNOWN") && times == 1, "pushback -1 stops retries");
  }

  /** A loss of notifications is told by a snapshot. */
  private static void gap(SmsSessionDataBlockingStub client) throws Exception {
    var view = new View(client);
    view.until("REASON_STARTED", () -> view.started == 1);
    control("POST", "/genesys/fail-over", "");
    view.until("REASON_GAP", () -> view.gaps == 1);
  }

  /** Writes and watches until the stream has begun anew and three more writes are done. */
  private static void restart(SmsSessionDataBlockingStub client) throws Exception {
    var view = new View(client);
    view.until("the first snapshot", () -> view.started == 1);
    var keys = new ArrayList<String>();
    for (int after = 0; after < 3; after += view.started > 1 ? 1 : 0) {
      var key = "java-" + (keys.size() + 1);
      attachOnce(client, key);
      keys.add(key);
      System.out.println("wrote " + keys.size());
      Thread.sleep(100); // A caller's own pace, so that the restart falls between writes.
    }
    view.until("every write", () ->
        keys.stream().allMatch(key -> holds(view.sessions.get(SESSION), key, "written")));
    System.out.println("java: the view is whole after the restart");
  }

  /**
   * No service config can know of request_ids, so the caller itself repeats an attach that has one.
   */
  private static void attachOnce(SmsSessionDataBlockingStub client, String key)
      throws InterruptedException {
    var request = attach(key, "written", UUID.randomUUID().toString());
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    for (int attempt = 0; ; attempt++) {
      try {
        within(client, 5).attachUserData(request);
        return;
      } catch (StatusRuntimeException error) {
        var told = pushed(error);
        if (error.getStatus().getCode() != Status.Code.UNAVAILABLE
            || (told != null && told.startsWith("-")) || System.nanoTime() > end) {
          throw error;
        }
        Thread.sleep(told == null ? backoff(attempt) : Long.parseLong(told));
      }
    }
  }

  /** Full jitter: callers that lost the same gateway must not all come back at the same moment. */
  private static long backoff(int attempt) {
    return ThreadLocalRandom.current().nextLong(Math.min(200L << Math.min(attempt, 5), 5_000));
  }

  /** The sessions as the stream tells them; opened again for as long as the process lives. */
  private static final class View implements Runnable {
    private final SmsSessionDataBlockingStub client;
    private final Map<String, SmsSession> sessions = new HashMap<>();
    private volatile int started;
    private volatile int gaps;

    View(SmsSessionDataBlockingStub client) {
      this.client = client;
      var thread = new Thread(this, "watch");
      thread.setDaemon(true);
      thread.start();
    }

    @Override
    public void run() {
      for (int attempt = 0; ; attempt++) {
        try {
          var events = client.watchSessions(WatchSessionsRequest.getDefaultInstance());
          while (events.hasNext()) {
            attempt = 0;
            apply(events.next());
          }
        } catch (StatusRuntimeException error) {
          if (HOPELESS.contains(error.getStatus().getCode())) {
            throw error;
          }
          System.out.println("watch ended, opened again: " + error.getStatus().getCode());
        }
        try {
          Thread.sleep(backoff(attempt));
        } catch (InterruptedException stopped) {
          return;
        }
      }
    }

    private synchronized void apply(WatchSessionsResponse event) {
      if (event.hasSnapshot()) {
        // Whatever was known before may be wrong by now.
        sessions.clear();
        event.getSnapshot().getSessionsList().forEach(told -> sessions.put(told.getId(), told));
        if (event.getSnapshot().getReason() == SessionsSnapshot.Reason.REASON_GAP) {
          gaps++;
        } else {
          started++;
        }
      } else if (event.getNotification().getSession().hasUserData()) {
        // The whole of the user data, not a change. Other fields are not needed here.
        var told = event.getNotification().getSession();
        sessions.merge(told.getId(), told, (known, now) ->
            known.toBuilder().setUserData(now.getUserData()).build());
      }
      notifyAll();
    }

    synchronized void until(String what, BooleanSupplier condition) throws InterruptedException {
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
      while (!condition.getAsBoolean()) {
        long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
        expect(left > 0, "never seen: " + what);
        wait(left);
      }
      System.out.println("seen: " + what);
    }
  }

  private static SmsSessionDataBlockingStub within(SmsSessionDataBlockingStub client, int seconds) {
    return client.withDeadlineAfter(seconds, TimeUnit.SECONDS);
  }

  private static AttachUserDataRequest attach(String key, String value, String requestId) {
    return AttachUserDataRequest.newBuilder().setSessionId(SESSION)
        .setUserData(data(key, value)).setRequestId(requestId).build();
  }

  private static Struct data(String key, String value) {
    return Struct.newBuilder()
        .putFields(key, Value.newBuilder().setStringValue(value).build()).build();
  }

  private static boolean holds(SmsSession session, String key, String value) {
    var nothing = Value.getDefaultInstance();
    return session != null
        && session.getUserData().getFieldsOrDefault(key, nothing).getStringValue().equals(value);
  }

  private static StatusRuntimeException refused(Runnable call) {
    try {
      call.run();
    } catch (StatusRuntimeException error) {
      return error;
    }
    throw new AssertionError("not refused");
  }

  private static String pushed(StatusRuntimeException error) {
    return error.getTrailers() == null ? null : error.getTrailers().get(PUSHBACK);
  }

  private static void expect(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError("not as expected: " + what);
    }
  }

  private static String env(String name, String fallback) {
    return System.getenv().getOrDefault(name, fallback);
  }

  // The rest is about the sandbox: faults to rehearse with, and what its vendor was sent.

  private static void fault(String rules) throws Exception {
    control("PUT", "/faults", rules);
    if (!rules.equals("[]")) {
      control("DELETE", "/requests", "");
    }
  }

  private static int sent(String operation) throws Exception {
    return new Gson().fromJson(control("GET", "/requests?operation=" + operation, ""), List.class)
        .size();
  }

  private static String control(String method, String path, String body) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(CONTROL + path))
        .method(method, HttpRequest.BodyPublishers.ofString(body)).build();
    var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    expect(answer.statusCode() < 300, method + " " + path + ": " + answer.body());
    return answer.body();
  }
}
