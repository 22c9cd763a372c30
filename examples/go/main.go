// A caller of switchboard in Go: `go run . tour` shows what a caller has to know, `go run . restart`
// keeps writing and watching while the gateway is restarted. It ends with 0 only if all went well.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	pb "example/contactcenter/v1"
)

const session = "0071023821aec011"

// A retry policy that nobody should have: it repeats a write of which nobody knows whether it was
// done. The gateway's pushback of -1 stops it all the same.
const careless = `{"methodConfig": [{
  "name": [{"service": "contactcenter.v1.SmsSessionData", "method": "AttachUserData"}],
  "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "0.1s",
    "backoffMultiplier": 1, "retryableStatusCodes": ["UNKNOWN"]}}]}`

func main() {
	config, err := os.ReadFile(env("SERVICE_CONFIG", "../../docs/service-config.json"))
	check(err)
	client := pb.NewSmsSessionDataClient(dial(string(config)))
	if len(os.Args) > 1 && os.Args[1] == "restart" {
		restart(client)
		return
	}
	confirmedAttach(client)
	richErrors(client)
	retries(client)
	pushback(pb.NewSmsSessionDataClient(dial(careless)))
	gap(client)
	fmt.Println("go: all went as expected")
}

func dial(serviceConfig string) *grpc.ClientConn {
	conn, err := grpc.NewClient(env("SWITCHBOARD", "127.0.0.1:50051"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// A stream says nothing for hours; pings find out that its peer is gone.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second}))
	check(err)
	return conn
}

// Returns when the write was seen in place, not just when the vendor accepted it.
func confirmedAttach(client pb.SmsSessionDataClient) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	answer, err := client.AttachUserData(ctx, &pb.AttachUserDataRequest{
		SessionId:    session,
		UserData:     data("GoKey", "attached"),
		Confirmation: pb.Confirmation_CONFIRMATION_CONFIRMED,
		// Of the caller's own making, one per intended write: a repeat gets the first one's result.
		RequestId: fmt.Sprintf("go-%d", time.Now().UnixNano()),
	})
	check(err)
	fmt.Println("attach:", answer.Outcome)
	expect(answer.Outcome == pb.Outcome_OUTCOME_CONFIRMED, "confirmed")
	expect(answer.Session.UserData.AsMap()["GoKey"] == "attached", "seen in place")
}

// Code and reason are for programs, the message is for people.
func richErrors(client pb.SmsSessionDataClient) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := client.DeleteUserData(ctx, &pb.DeleteUserDataRequest{
		SessionId: "..", Keys: []string{"a", "a", ""}})
	info, fields, _ := details(err)
	fmt.Println("refused:", info.GetReason(), fields)
	expect(info.GetReason() == "INVALID_FIELD" && len(fields) == 3, "every wrong field")

	fault(`[{"operation": "ListSessions", "fault": {"kind": "throttle", "retry_after": "60"}}]`)
	_, err = client.ListSessions(ctx, &pb.ListSessionsRequest{})
	fault(`[]`)
	info, _, wait := details(err)
	fmt.Println("throttled:", info.GetReason(), info.GetMetadata(), "come again in", wait)
	expect(info.GetReason() == "VENDOR_THROTTLED" && info.GetMetadata()["vendor"] == "genesys", "throttled")
	expect(wait > 0, "told when to come again")
}

func details(err error) (info *errdetails.ErrorInfo, fields []string, wait time.Duration) {
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			info = detail
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				fields = append(fields, violation.GetField())
			}
		case *errdetails.RetryInfo:
			wait = detail.GetRetryDelay().AsDuration()
		}
	}
	return
}

// The gateway gives up after three attempts; the service config calls it once more.
func retries(client pb.SmsSessionDataClient) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fault(`[{"operation": "GetSession", "times": 3, "fault": {"kind": "html", "status": 503}}]`)
	_, err := client.GetSession(ctx, &pb.GetSessionRequest{SessionId: session})
	check(err)
	sent := sent("GetSession")
	fmt.Println("retried by service config: the vendor was asked", sent, "times")
	expect(sent == 4, "one retry by the client")
}

func pushback(client pb.SmsSessionDataClient) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fault(`[{"operation": "AttachUserData", "stage": "after", "fault": {"kind": "reset"}}]`)
	var trailer metadata.MD
	_, err := client.AttachUserData(ctx, &pb.AttachUserDataRequest{
		SessionId: session, UserData: data("GoPushback", "once")}, grpc.Trailer(&trailer))
	info, _, _ := details(err)
	sent := sent("AttachUserData")
	fault(`[]`)
	fmt.Println("lost:", status.Code(err), info.GetReason(), trailer["grpc-retry-pushback-ms"], "sent", sent)
	expect(info.GetReason() == "OUTCOME_UNKNOWN" && sent == 1, "pushback -1 stops retries")
}

// A loss of notifications is told by a snapshot.
func gap(client pb.SmsSessionDataClient) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	view := newView()
	go view.watch(ctx, client)
	view.until(ctx, "REASON_STARTED", func() bool { return view.started == 1 })
	control("POST", "/genesys/fail-over", "")
	view.until(ctx, "REASON_GAP", func() bool { return view.gaps == 1 })
}

// Writes and watches until the stream has begun anew and three more writes are done.
func restart(client pb.SmsSessionDataClient) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	view := newView()
	go view.watch(ctx, client)
	view.until(ctx, "the first snapshot", func() bool { return view.started == 1 })
	written, after := 0, 0
	for after < 3 {
		written++
		attachOnce(ctx, client, fmt.Sprintf("go-%d", written))
		fmt.Println("wrote", written)
		if view.has(func() bool { return view.started > 1 }) {
			after++
		}
		time.Sleep(100 * time.Millisecond) // A caller's own pace, so that the restart falls between writes.
	}
	view.until(ctx, "every write", func() bool {
		for i := 1; i <= written; i++ {
			if view.sessions[session].GetUserData().AsMap()[fmt.Sprintf("go-%d", i)] != "written" {
				return false
			}
		}
		return true
	})
	fmt.Println("go: the view is whole after the restart")
}

// No service config can know of request_ids, so the caller itself repeats an attach that has one.
func attachOnce(ctx context.Context, client pb.SmsSessionDataClient, key string) {
	request := &pb.AttachUserDataRequest{
		SessionId: session, UserData: data(key, "written"), RequestId: key + "-" + strconv.Itoa(os.Getpid())}
	for attempt := 0; ; attempt++ {
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		var trailer metadata.MD
		_, err := client.AttachUserData(once, request, grpc.Trailer(&trailer))
		cancel()
		if err == nil {
			return
		}
		pushed := strings.Join(trailer["grpc-retry-pushback-ms"], "")
		if status.Code(err) != codes.Unavailable || strings.HasPrefix(pushed, "-") || ctx.Err() != nil {
			log.Fatalln("attach", key, err)
		}
		wait := backoff(attempt)
		if ms, err := strconv.Atoi(pushed); err == nil {
			wait = time.Duration(ms) * time.Millisecond
		}
		time.Sleep(wait)
	}
}

// Full jitter: callers that lost the same gateway must not all come back at the same moment.
func backoff(attempt int) time.Duration {
	ceiling := min(200*time.Millisecond<<min(attempt, 5), 5*time.Second)
	return rand.N(ceiling)
}

type view struct {
	mutex         sync.Mutex
	sessions      map[string]*pb.SmsSession
	started, gaps int
	changed       chan struct{}
}

func newView() *view { return &view{changed: make(chan struct{}, 1)} }

// Opens the stream again for as long as the caller wants it.
func (v *view) watch(ctx context.Context, client pb.SmsSessionDataClient) {
	for attempt := 0; ; attempt++ {
		err := v.follow(ctx, client, &attempt)
		if ctx.Err() != nil {
			return
		}
		switch status.Code(err) {
		case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
			log.Fatalln("watch:", err) // Asking again changes nothing.
		}
		fmt.Println("watch ended, opened again:", err)
		time.Sleep(backoff(attempt))
	}
}

func (v *view) follow(ctx context.Context, client pb.SmsSessionDataClient, attempt *int) error {
	stream, err := client.WatchSessions(ctx, &pb.WatchSessionsRequest{})
	if err != nil {
		return err
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		*attempt = 0
		v.apply(event)
	}
}

func (v *view) apply(event *pb.WatchSessionsResponse) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if snapshot := event.GetSnapshot(); snapshot != nil {
		// Whatever was known before may be wrong by now.
		v.sessions = map[string]*pb.SmsSession{}
		for _, s := range snapshot.Sessions {
			v.sessions[s.Id] = s
		}
		if snapshot.Reason == pb.SessionsSnapshot_REASON_STARTED {
			v.started++
		} else {
			v.gaps++
		}
	} else if told := event.GetNotification().GetSession(); told.GetUserData() != nil {
		// The whole of the user data, not a change. Other fields are not needed here.
		if known := v.sessions[told.Id]; known != nil {
			known.UserData = told.UserData
		} else {
			v.sessions[told.Id] = told
		}
	}
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

func (v *view) has(condition func() bool) bool {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	return condition()
}

func (v *view) until(ctx context.Context, what string, condition func() bool) {
	for !v.has(condition) {
		select {
		case <-v.changed:
		case <-ctx.Done():
			log.Fatalln("never seen:", what)
		}
	}
	fmt.Println("seen:", what)
}

// The rest is about the sandbox: faults to rehearse with, and what its vendor was sent.

func fault(rules string) {
	control("PUT", "/faults", rules)
	if rules != "[]" {
		control("DELETE", "/requests", "")
	}
}

func sent(operation string) int {
	return strings.Count(control("GET", "/requests?operation="+operation, ""), `"sequence"`)
}

func control(method, path, body string) string {
	request, err := http.NewRequest(method, env("SANDBOX_CONTROL", "http://127.0.0.1:50052")+path,
		strings.NewReader(body))
	check(err)
	answer, err := http.DefaultClient.Do(request)
	check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	check(err)
	expect(answer.StatusCode < 300, method+" "+path+": "+string(text))
	return string(text)
}

func data(key, value string) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{key: structpb.NewStringValue(value)}}
}

func env(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

func check(err error) {
	if err != nil {
		log.Fatalln(err)
	}
}

func expect(holds bool, what string) {
	if !holds {
		log.Fatalln("not as expected:", what)
	}
}
