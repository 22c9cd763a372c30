import static java.nio.charset.StandardCharsets.UTF_8;
import static java.util.stream.Collectors.joining;

import com.google.gson.Gson;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
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
import contactcenter.v1.SmsSessionDataOuterClass.Outcome;
import contactcenter.v1.SmsSessionDataOuterClass.SmsSession;
import contactcenter.v1.SmsSessionDataOuterClass.WatchSessionsRequest;
import contactcenter.v1.SmsSessionDataOuterClass.WatchSessionsResponse;
import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.CompositeChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/**
 * A client of the gateway in Java: {@code tour} shows calls, errors and retries against the
 * sandbox; {@code watch} writes and watches until somebody attaches the key "java-stop".
 */
public final class Client {
  private static final String SESSION = "0071023821aec011"; // one that the sandbox has

  private static final Metadata.Key<String> ATTEMPTS = key("x-switchboard-attempts");
  private static final Metadata.Key<String> PUSHBACK = key("grpc-retry-pushback-ms");

  /** What a careless owner might configure: to repeat an attach whose outcome is not known. */
  private static final String CARELESS =
      """
      {"methodConfig": [{
        "name": [{"service": "contactcenter.v1.SmsSessionData", "method": "AttachUserData"}],
        "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.2s", "maxBackoff": "2s",
          "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE", "UNKNOWN"]}}]}
      """;

  /** The vendor does the next attach, and its answer is lost. */
  private static final String LOST =
      """
      [{"operation": "AttachUserData", "times": 1, "stage": "after", "fault": {"kind": "reset"}}]
      """;

  public static void main(String[] arguments) throws Exception {
    var channel = connect(Files.readString(Path.of("../../docs/service-config.json")));
    var sms = SmsSessionDataGrpc.newBlockingStub(channel);
    if (arguments.length == 1 && arguments[0].equals("watch")) {
      watch(channel);
    } else {
      confirmed(sms);
      refused(sms);
      absent(sms);
      retried(sms);
      stopped(SmsSessionDataGrpc.newBlockingStub(connect(CARELESS)));
      settled(sms);
    }
    System.exit(0);
  }

  /**
   * One channel for the whole process, which is what makes it cheap; the service config makes it
   * repeat what may be repeated, and honour grpc-retry-pushback-ms.
   */
  private static ManagedChannel connect(String serviceConfig) throws IOException {
    // The library takes the JSON as maps, with numbers as Double: as Gson reads it.
    Map<String, ?> config = new Gson().fromJson(serviceConfig, Map.class);
    var authorities = env("CA", "");
    ChannelCredentials transport =
        authorities.isEmpty()
            ? InsecureChannelCredentials.create()
            : TlsChannelCredentials.newBuilder().trustManager(new File(authorities)).build();
    var token = env("TOKEN_FILE", "");
    if (!authorities.isEmpty() && !token.isEmpty()) {
      transport = CompositeChannelCredentials.create(transport, new Bearer(Path.of(token)));
    }
    return Grpc.newChannelBuilder(env("GATEWAY", "127.0.0.1:50051"), transport)
        .defaultServiceConfig(config)
        .enableRetry()
        // A stream over a network that fails without a word would be silent for ever.
        .keepAliveTime(20, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .build();
  }

  /** The token in a file, which is read for each call anew: another one is there before it expires. */
  private static final class Bearer extends CallCredentials {
    private final Path file;

    private Bearer(Path file) {
      this.file = file;
    }

    @Override
    public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
      executor.execute(
          () -> {
            try {
              var metadata = new Metadata();
              metadata.put(key("authorization"), "Bearer " + Files.readString(file).strip());
              applier.apply(metadata);
            } catch (IOException error) {
              applier.fail(Status.UNAUTHENTICATED.withCause(error));
            }
          });
    }
  }

  /** Returns when the vendor shows the data in place, not when it merely took it. */
  private static void confirmed(SmsSessionDataBlockingStub sms) {
    var value = UUID.randomUUID().toString();
    var request =
        attach("java-tour", value)
            .setConfirmation(Confirmation.CONFIRMATION_CONFIRMED)
            .setRequestId(UUID.randomUUID().toString())
            .build();
    // Without a deadline the gateway's default would hold; the caller knows better how long it
    // can wait. It begins with this line, so it is set for each call anew.
    var answer = sms.withDeadlineAfter(5, TimeUnit.SECONDS).attachUserData(request);
    expect("attach", answer.getOutcome(), Outcome.OUTCOME_CONFIRMED);
    var seen = answer.getSession().getUserData().getFieldsOrThrow("java-tour").getStringValue();
    expect("attached", seen, value);
    // The same request_id again: the first one's answer, and the vendor hears nothing of it.
    var headers = new AtomicReference<Metadata>();
    listening(sms, headers).attachUserData(request);
    expect("sent again", headers.get().get(ATTEMPTS), "0");
  }

  /** A request that breaks rules is refused with every wrong field, so a form can mark them all. */
  private static void refused(SmsSessionDataBlockingStub sms) {
    var request =
        DeleteUserDataRequest.newBuilder().setSessionId("..").addKeys("a").addKeys("a").addKeys("");
    var error = failure(() -> sms.deleteUserData(request.build()));
    expect("refused", reason(error), "INVALID_FIELD");
    var bad = detail(error, BadRequest.class).orElseThrow();
    var fields = bad.getFieldViolationsList().stream().map(it -> it.getField()).sorted();
    expect("fields", fields.collect(joining(" ")), "keys[1] keys[2] session_id");
  }

  /** Decide by code and reason; the message is for people. Metadata has the vendor's facts. */
  private static void absent(SmsSessionDataBlockingStub sms) {
    var request = GetSessionRequest.newBuilder().setSessionId("absent").build();
    var error = failure(() -> sms.getSession(request));
    expect("absent", error.getStatus().getCode(), Code.NOT_FOUND);
    expect("reason", reason(error), "VENDOR_NOT_FOUND");
    var info = detail(error, ErrorInfo.class).orElseThrow();
    expect("vendor", info.getMetadataOrDefault("vendor", ""), "genesys");
  }

  /**
   * The gateway gives up after three attempts; the channel calls once more, as the service config
   * says, and that call needs one.
   */
  private static void retried(SmsSessionDataBlockingStub sms) throws Exception {
    fault(
        """
        [{"operation": "GetSession", "times": 3, "fault": {"kind": "status", "status": 503}}]
        """);
    var headers = new AtomicReference<Metadata>();
    var request = GetSessionRequest.newBuilder().setSessionId(SESSION).build();
    listening(sms, headers).getSession(request);
    expect("attempts of the last", headers.get().get(ATTEMPTS), "1");
  }

  /**
   * The vendor may have done it: the gateway says so with a pushback of -1, and then not even a
   * channel that is told to repeat UNKNOWN does. If it did, the second call would succeed here.
   */
  private static void stopped(SmsSessionDataBlockingStub careless) throws Exception {
    fault(LOST);
    var request = attach("java-stopped", UUID.randomUUID().toString()).build();
    var error = failure(() -> careless.attachUserData(request));
    expect("lost", error.getStatus().getCode(), Code.UNKNOWN);
    expect("reason", reason(error), "OUTCOME_UNKNOWN");
    expect("pushback", pushback(error), Optional.of(-1L));
  }

  /**
   * Under a request_id the gateway finds out what became of it: the same call again, to be
   * confirmed. It looks, and does not attach a second time.
   */
  private static void settled(SmsSessionDataBlockingStub sms) throws Exception {
    fault(LOST);
    var request =
        attach("java-settled", UUID.randomUUID().toString())
            .setRequestId(UUID.randomUUID().toString());
    var error =
        failure(() -> sms.withDeadlineAfter(5, TimeUnit.SECONDS).attachUserData(request.build()));
    expect("in doubt", reason(error), "OUTCOME_UNKNOWN");
    request.setConfirmation(Confirmation.CONFIRMATION_CONFIRMED);
    var answer = sms.withDeadlineAfter(5, TimeUnit.SECONDS).attachUserData(request.build());
    expect("settled", answer.getOutcome(), Outcome.OUTCOME_CONFIRMED);
  }

  /** A view of the sessions, and the writer whose work it shows. */
  private static void watch(ManagedChannel channel) throws Exception {
    var sms = SmsSessionDataGrpc.newBlockingStub(channel);
    var view = new View();
    var follower = new Thread(() -> view.follow(channel));
    follower.setDaemon(true);
    follower.start();
    var giveUp = System.nanoTime() + TimeUnit.MINUTES.toNanos(2);
    var written = 0;
    while (!view.keys().contains("java-stop")) {
      written++;
      attachRepeating(sms, attach("java-" + written, "x"), giveUp);
      Thread.sleep(200);
    }
    while (!view.keys().contains("java-" + written)) {
      if (System.nanoTime() > giveUp) {
        throw new IllegalStateException("the view does not show what was written");
      }
      Thread.sleep(50);
    }
    System.out.println("written " + written);
    System.out.println("view " + String.join(" ", view.keys()));
  }

  /**
   * Repeats under one request_id, so that it is done once however often it is called. That is what
   * makes repeating an attach safe, and why no service config does it: there would be no id.
   */
  private static void attachRepeating(
      SmsSessionDataBlockingStub sms, AttachUserDataRequest.Builder request, long giveUp)
      throws InterruptedException {
    request.setRequestId(UUID.randomUUID().toString());
    for (var attempt = 0; ; attempt++) {
      try {
        sms.withDeadlineAfter(5, TimeUnit.SECONDS).attachUserData(request.build());
        return;
      } catch (StatusRuntimeException error) {
        var said = pushback(error);
        var code = error.getStatus().getCode();
        if (!Set.of(Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED).contains(code)
            || said.equals(Optional.of(-1L))
            || System.nanoTime() > giveUp) {
          throw error;
        }
        // An answer about the vendor is kept under its id, and says that nothing was done: a fresh
        // id asks anew. Anything else leaves open what became of the first call: same id.
        if (detail(error, ErrorInfo.class).filter(it -> it.containsMetadata("vendor")).isPresent()) {
          request.setRequestId(UUID.randomUUID().toString());
        }
        // RetryInfo says when it is worth another call, such as when an open circuit lets one
        // through.
        var retry = detail(error, RetryInfo.class).orElse(RetryInfo.getDefaultInstance());
        var delay = retry.getRetryDelay();
        var told = TimeUnit.SECONDS.toMillis(delay.getSeconds()) + delay.getNanos() / 1_000_000;
        var wait = said.orElse(told + backoff(attempt));
        System.out.println("repeat in " + wait + " ms: " + error.getStatus());
        Thread.sleep(wait);
      }
    }
  }

  private static final class View {
    private final Map<String, SmsSession> sessions = new ConcurrentHashMap<>();

    /**
     * A stream ends when the gateway restarts, when the connection breaks, when the vendor's
     * notifications cannot be had: open it again, always. It begins with the whole state.
     */
    void follow(ManagedChannel channel) {
      var sms = SmsSessionDataGrpc.newBlockingStub(channel);
      for (var attempt = 0; ; attempt++) {
        try {
          var events = sms.watchSessions(WatchSessionsRequest.getDefaultInstance());
          while (events.hasNext()) {
            apply(events.next());
            attempt = 0;
          }
        } catch (StatusRuntimeException error) {
          System.out.println("reopen " + error.getStatus());
        }
        try {
          // Jittered, so that not all clients come back to a restarted gateway at once.
          Thread.sleep(backoff(attempt));
        } catch (InterruptedException end) {
          return;
        }
        // The library waits up to two minutes between attempts to connect otherwise.
        channel.resetConnectBackoff();
      }
    }

    private synchronized void apply(WatchSessionsResponse event) {
      if (event.hasSnapshot()) {
        // STARTED or GAP: what is not in it is not there any more.
        sessions.clear();
        event.getSnapshot().getSessionsList().forEach(it -> sessions.put(it.getId(), it));
        System.out.println("snapshot " + event.getSnapshot().getReason());
      } else if (event.getNotification().hasSession()) {
        var kind = event.getNotification().getNotificationType();
        var told = event.getNotification().getSession();
        var known = sessions.get(told.getId());
        // An Error tells that a write failed after all, so that nothing has changed.
        if (!kind.equals("Error")) {
          // Without user data it tells of something else, and says nothing about the data.
          if (known != null && !told.hasUserData()) {
            told = told.toBuilder().setUserData(known.getUserData()).build();
          }
          sessions.put(told.getId(), told);
          known = told;
        }
        System.out.println("notification " + kind + " " + (known == null ? "" : known.getState()));
      }
    }

    synchronized Set<String> keys() {
      var keys = new TreeSet<String>();
      var session = sessions.getOrDefault(SESSION, SmsSession.getDefaultInstance());
      keys.addAll(session.getUserData().getFieldsMap().keySet());
      keys.removeIf(key -> !key.startsWith("java-"));
      return keys;
    }
  }

  /** One of the google.rpc messages that came with an error, such as ErrorInfo. */
  private static <T extends Message> Optional<T> detail(StatusRuntimeException error, Class<T> kind) {
    var status = StatusProto.fromThrowable(error);
    for (Any packed : status.getDetailsList()) {
      if (packed.is(kind)) {
        try {
          return Optional.of(packed.unpack(kind));
        } catch (InvalidProtocolBufferException unreadable) {
          throw new IllegalStateException(unreadable);
        }
      }
    }
    return Optional.empty();
  }

  private static String reason(StatusRuntimeException error) {
    return detail(error, ErrorInfo.class).map(ErrorInfo::getReason).orElse("");
  }

  /** The milliseconds to wait; -1: do not repeat; empty: nothing was said. */
  private static Optional<Long> pushback(StatusRuntimeException error) {
    var said = Optional.ofNullable(error.getTrailers()).map(it -> it.get(PUSHBACK));
    return said.map(it -> it.matches("\\d{1,9}") ? Long.parseLong(it) : -1L);
  }

  private static SmsSessionDataBlockingStub listening(
      SmsSessionDataBlockingStub sms, AtomicReference<Metadata> headers) {
    var trailers = new AtomicReference<Metadata>();
    return sms.withDeadlineAfter(5, TimeUnit.SECONDS)
        .withInterceptors(MetadataUtils.newCaptureMetadataInterceptor(headers, trailers));
  }

  private static StatusRuntimeException failure(Runnable call) {
    try {
      call.run();
    } catch (StatusRuntimeException error) {
      return error;
    }
    throw new IllegalStateException("not refused");
  }

  private static AttachUserDataRequest.Builder attach(String key, String value) {
    var data = Struct.newBuilder().putFields(key, Value.newBuilder().setStringValue(value).build());
    return AttachUserDataRequest.newBuilder().setSessionId(SESSION).setUserData(data);
  }

  /** Full jitter: somewhere between nothing and a bound that doubles from 200 ms to 2 s. */
  private static long backoff(int attempt) {
    return ThreadLocalRandom.current().nextLong(Math.min(200L << Math.min(attempt, 4), 2000) + 1);
  }

  private static void expect(String what, Object is, Object wanted) {
    if (!is.equals(wanted)) {
      throw new IllegalStateException(what + ": " + is + " instead of " + wanted);
    }
    System.out.println("ok " + what + " " + is);
  }

  /** Lets the simulated vendor fail; nothing that a client of a real gateway could do. */
  private static void fault(String rules) throws Exception {
    var control = URI.create(env("CONTROL", "http://127.0.0.1:50052") + "/faults");
    var request =
        HttpRequest.newBuilder(control)
            .timeout(Duration.ofSeconds(10))
            .PUT(HttpRequest.BodyPublishers.ofString(rules, UTF_8))
            .build();
    var answer = HttpClient.newHttpClient().send(request, BodyHandlers.discarding());
    expect("fault", answer.statusCode() < 300, true);
  }

  private static String env(String name, String otherwise) {
    return Optional.ofNullable(System.getenv(name)).orElse(otherwise);
  }

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
