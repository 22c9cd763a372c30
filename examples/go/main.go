// A client of the gateway in Go: `go run . tour` shows calls, errors and retries against the
// sandbox; `go run . watch` writes and watches until somebody attaches the key "go-stop".
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	pb "switchboard.example/client/gen/contactcenter/v1"
)

const session = "0071023821aec011" // one that the sandbox has

// What a careless owner might configure: to repeat an attach whose outcome is not known.
const careless = `{"methodConfig": [{
	"name": [{"service": "contactcenter.v1.SmsSessionData", "method": "AttachUserData"}],
	"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.2s", "maxBackoff": "2s",
		"backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE", "UNKNOWN"]}}]}`

// The vendor does the next attach, and its answer is lost.
const lost = `[{"operation": "AttachUserData", "times": 1, "stage": "after", "fault": {"kind": "reset"}}]`

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	// A signal ends the calls under way and the stream, and the connection is closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	connection, err := connect(serviceConfig())
	if err != nil {
		return err
	}
	defer connection.Close()
	sms := pb.NewSmsSessionDataClient(connection)
	if len(os.Args) == 2 && os.Args[1] == "watch" {
		return watch(ctx, sms)
	}
	return tour(ctx, sms)
}

// One connection for the whole process, which is what makes it cheap; the service config makes it
// repeat what may be repeated, and honour grpc-retry-pushback-ms.
func connect(serviceConfig string) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if ca := os.Getenv("CA"); ca != "" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(ca, ""); err != nil {
			return nil, err
		}
	}
	// The library waits up to two minutes between attempts to connect otherwise.
	reconnect := grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 5 * time.Second}
	reconnect.Backoff.MaxDelay = 2 * time.Second
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithConnectParams(reconnect),
		// A stream over a network that fails without a word would be silent for ever.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultServiceConfig(serviceConfig),
	}
	if file := os.Getenv("TOKEN_FILE"); file != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(file)))
	}
	return grpc.NewClient(env("GATEWAY", "127.0.0.1:50051"), options...)
}

// The token in a file, which is read for each call anew: another one is there before it expires.
type bearer string

func (file bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := os.ReadFile(string(file))
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(token))}, err
}

func (bearer) RequireTransportSecurity() bool { return true }

func tour(ctx context.Context, sms pb.SmsSessionDataClient) error {
	eager, err := connect(careless)
	if err != nil {
		return err
	}
	defer eager.Close()
	return errors.Join(confirmed(ctx, sms), refused(ctx, sms), absent(ctx, sms),
		retried(ctx, sms), stopped(ctx, pb.NewSmsSessionDataClient(eager)), settled(ctx, sms))
}

// A confirmed attach returns when the vendor shows the data in place, not when it merely took it.
func confirmed(ctx context.Context, sms pb.SmsSessionDataClient) error {
	// Without a deadline the gateway's default would hold; the caller knows better how long it
	// can wait.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request := attach("go-tour", unique())
	request.Confirmation = pb.Confirmation_CONFIRMATION_CONFIRMED
	request.RequestId = unique()
	answer, err := sms.AttachUserData(ctx, request)
	if err != nil {
		return err
	}
	seen := answer.Session.UserData.AsMap()["go-tour"]
	if err := expect("attach", answer.Outcome, pb.Outcome_OUTCOME_CONFIRMED); err != nil {
		return err
	}
	// The same request_id again: the first one's answer, and the vendor hears nothing of it.
	var header metadata.MD
	if _, err := sms.AttachUserData(ctx, request, grpc.Header(&header)); err != nil {
		return err
	}
	return errors.Join(
		expect("attached", seen, request.UserData.AsMap()["go-tour"]),
		expect("sent again", header.Get("x-switchboard-attempts")[0], "0"))
}

// A request that breaks rules is refused with every wrong field, so a form can mark them all.
func refused(ctx context.Context, sms pb.SmsSessionDataClient) error {
	_, err := sms.DeleteUserData(ctx,
		&pb.DeleteUserDataRequest{SessionId: "..", Keys: []string{"a", "a", ""}})
	var fields []string
	for _, violation := range detail[*errdetails.BadRequest](err).GetFieldViolations() {
		fields = append(fields, violation.Field)
	}
	slices.Sort(fields)
	return errors.Join(
		expect("refused", reason(err).GetReason(), "INVALID_FIELD"),
		expect("fields", strings.Join(fields, " "), "keys[1] keys[2] session_id"))
}

// Decide by code and reason; the message is for people. The metadata has the vendor's facts.
func absent(ctx context.Context, sms pb.SmsSessionDataClient) error {
	_, err := sms.GetSession(ctx, &pb.GetSessionRequest{SessionId: "absent"})
	return errors.Join(
		expect("absent", status.Code(err), codes.NotFound),
		expect("reason", reason(err).GetReason(), "VENDOR_NOT_FOUND"),
		expect("vendor", reason(err).GetMetadata()["vendor"], "genesys"))
}

// The gateway gives up after three attempts; the channel calls once more, as the service config
// says, and that call needs one.
func retried(ctx context.Context, sms pb.SmsSessionDataClient) error {
	if err := fault(`[{"operation": "GetSession", "times": 3,
		"fault": {"kind": "status", "status": 503}}]`); err != nil {
		return err
	}
	var header metadata.MD
	_, err := sms.GetSession(ctx, &pb.GetSessionRequest{SessionId: session}, grpc.Header(&header))
	if err != nil {
		return err
	}
	return expect("attempts of the last", header.Get("x-switchboard-attempts")[0], "1")
}

// The vendor may have done it: the gateway says so with a pushback of -1, and then not even a
// channel that is told to repeat UNKNOWN does. If it did, the second call would succeed here.
func stopped(ctx context.Context, eager pb.SmsSessionDataClient) error {
	if err := fault(lost); err != nil {
		return err
	}
	var trailer metadata.MD
	_, err := eager.AttachUserData(ctx, attach("go-stopped", unique()), grpc.Trailer(&trailer))
	return errors.Join(
		expect("lost", status.Code(err), codes.Unknown),
		expect("reason", reason(err).GetReason(), "OUTCOME_UNKNOWN"),
		expect("pushback", trailer.Get("grpc-retry-pushback-ms"), []string{"-1"}))
}

// Under a request_id the gateway finds out what became of it: the same call again, to be confirmed.
// It looks, and does not attach a second time.
func settled(ctx context.Context, sms pb.SmsSessionDataClient) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := fault(lost); err != nil {
		return err
	}
	request := attach("go-settled", unique())
	request.RequestId = unique()
	_, err := sms.AttachUserData(ctx, request)
	doubt := expect("in doubt", reason(err).GetReason(), "OUTCOME_UNKNOWN")
	request.Confirmation = pb.Confirmation_CONFIRMATION_CONFIRMED
	answer, err := sms.AttachUserData(ctx, request)
	if err != nil {
		return err
	}
	return errors.Join(doubt, expect("settled", answer.Outcome, pb.Outcome_OUTCOME_CONFIRMED))
}

// A view of the sessions, and the writer whose work it shows.
func watch(ctx context.Context, sms pb.SmsSessionDataClient) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	view := &view{sessions: map[string]*pb.SmsSession{}, changed: make(chan struct{}, 1)}
	go view.follow(ctx, sms)
	written := 0
	for !view.has("go-stop") {
		written++
		if err := attachRepeating(ctx, sms, attach(fmt.Sprint("go-", written), "x")); err != nil {
			return err
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	for !view.has(fmt.Sprint("go-", written)) {
		select {
		case <-view.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	fmt.Println("written", written)
	fmt.Println("view", strings.Join(view.keys("go-"), " "))
	return nil
}

// Repeats under one request_id, so that it is done once however often it is called. That is what
// makes repeating an attach safe, and why no service config does it: there would be no id.
func attachRepeating(ctx context.Context, sms pb.SmsSessionDataClient, request *pb.AttachUserDataRequest) error {
	request.RequestId = unique()
	for attempt := 0; ; attempt++ {
		var trailer metadata.MD
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := sms.AttachUserData(call, request, grpc.Trailer(&trailer))
		cancel()
		passing := []codes.Code{codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded}
		if !slices.Contains(passing, status.Code(err)) {
			return err
		}
		// RetryInfo says when it is worth another call, such as when an open circuit lets one through.
		wait := detail[*errdetails.RetryInfo](err).GetRetryDelay().AsDuration() + jitter(attempt)
		if said := trailer.Get("grpc-retry-pushback-ms"); len(said) > 0 {
			milliseconds, bad := strconv.ParseUint(said[0], 10, 31)
			if bad != nil { // -1: the gateway says that repeating does harm
				return err
			}
			wait = time.Duration(milliseconds) * time.Millisecond
		}
		// An answer about the vendor is kept under its id, and says that nothing was done: a fresh
		// id asks anew. Anything else leaves open what became of the first call: same id.
		if _, ok := reason(err).GetMetadata()["vendor"]; ok {
			request.RequestId = unique()
		}
		fmt.Println("repeat in", wait.Milliseconds(), "ms:", err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

type view struct {
	mutex    sync.Mutex
	sessions map[string]*pb.SmsSession
	changed  chan struct{}
}

// A stream ends when the gateway restarts, when the connection breaks, when the vendor's
// notifications cannot be had: open it again, always. The first message is the whole state.
func (v *view) follow(ctx context.Context, sms pb.SmsSessionDataClient) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		stream, err := sms.WatchSessions(ctx, &pb.WatchSessionsRequest{})
		for err == nil {
			var event *pb.WatchSessionsResponse
			if event, err = stream.Recv(); err == nil {
				attempt = 0
				v.apply(event)
			}
		}
		fmt.Println("reopen", err)
		// Jittered, so that not all clients come back to a restarted gateway at once.
		_ = sleep(ctx, jitter(attempt))
	}
}

func (v *view) apply(event *pb.WatchSessionsResponse) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if snapshot := event.GetSnapshot(); snapshot != nil {
		fmt.Println("snapshot", snapshot.Reason)
		// REASON_STARTED or REASON_GAP: what is not in it is not there any more.
		clear(v.sessions)
		for _, session := range snapshot.Sessions {
			v.sessions[session.Id] = session
		}
	} else if told := event.GetNotification().GetSession(); told != nil {
		kind := event.GetNotification().NotificationType
		// An Error tells that a write failed after all, so that nothing has changed.
		if kind != "Error" {
			// Without user data it tells of something else, and says nothing about the data.
			if known := v.sessions[told.Id]; told.UserData == nil && known != nil {
				told.UserData = known.UserData
			}
			v.sessions[told.Id] = told
		}
		fmt.Println("notification", kind, v.sessions[told.Id].GetState())
	}
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

func (v *view) has(key string) bool {
	return slices.Contains(v.keys(key), key)
}

func (v *view) keys(prefix string) (keys []string) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	for key := range v.sessions[session].GetUserData().GetFields() {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func reason(err error) *errdetails.ErrorInfo { return detail[*errdetails.ErrorInfo](err) }

// One of the google.rpc messages that came with an error, or nil.
func detail[T any](err error) (none T) {
	for _, it := range status.Convert(err).Details() {
		if found, ok := it.(T); ok {
			return found
		}
	}
	return none
}

func attach(key, value string) *pb.AttachUserDataRequest {
	return &pb.AttachUserDataRequest{SessionId: session, UserData: &structpb.Struct{
		Fields: map[string]*structpb.Value{key: structpb.NewStringValue(value)}}}
}

// Full jitter: somewhere between nothing and a bound that doubles from 200 ms to 2 s.
func jitter(attempt int) time.Duration {
	return time.Duration(rand.IntN(min(200<<min(attempt, 4), 2000)+1)) * time.Millisecond
}

func sleep(ctx context.Context, wait time.Duration) error {
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func unique() string { return strconv.FormatUint(rand.Uint64(), 36) }

func expect(what string, is, wanted any) error {
	if fmt.Sprint(is) != fmt.Sprint(wanted) {
		return fmt.Errorf("%s: %v instead of %v", what, is, wanted)
	}
	fmt.Println("ok", what, is)
	return nil
}

// Lets the simulated vendor fail; nothing that a client of a real gateway could do.
func fault(rules string) error {
	request, err := http.NewRequest("PUT", env("CONTROL", "http://127.0.0.1:50052")+"/faults",
		strings.NewReader(rules))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return errors.Join(answer.Body.Close(), expect("fault", answer.StatusCode < 300, true))
}

func serviceConfig() string {
	config, err := os.ReadFile("../../docs/service-config.json")
	if err != nil {
		log.Fatal(err)
	}
	return string(config)
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
