// The official Go SDK, as the Feishu documents use it for events and for callbacks:
// https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
// https://open.feishu.cn/document/event-subscription-guide/callback-subscription/step-1-choose-a-subscription-mode/configure-callback-request-address
// https://open.feishu.cn/document/server-side-sdk/golang-sdk-guide/handle-events
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	lark "github.com/larksuite/oapi-sdk-go/v3"
	larkevent "github.com/larksuite/oapi-sdk-go/v3/event"
	"github.com/larksuite/oapi-sdk-go/v3/event/dispatcher"
	"github.com/larksuite/oapi-sdk-go/v3/event/dispatcher/callback"
	larkim "github.com/larksuite/oapi-sdk-go/v3/service/im/v1"
	larkws "github.com/larksuite/oapi-sdk-go/v3/ws"
)

func main() {
	appId, appSecret, domain := os.Getenv("APP_ID"), os.Getenv("APP_SECRET"), os.Getenv("LARK_DOMAIN")
	client := lark.NewClient(appId, appSecret, lark.WithOpenBaseUrl(domain))

	eventHandler := dispatcher.NewEventDispatcher("", "").
		OnP2MessageReceiveV1(func(ctx context.Context, event *larkim.P2MessageReceiveV1) error {
			var said struct {
				Text string `json:"text"`
			}
			if err := json.Unmarshal([]byte(*event.Event.Message.Content), &said); err != nil {
				return err
			}
			content, err := json.Marshal(map[string]string{"text": "回复： " + said.Text})
			if err != nil {
				return err
			}
			body := larkim.NewCreateMessageReqBodyBuilder().
				ReceiveId(*event.Event.Message.ChatId).MsgType("text").Content(string(content)).Build()
			request := larkim.NewCreateMessageReqBuilder().ReceiveIdType("chat_id").Body(body).Build()
			response, err := client.Im.Message.Create(ctx, request)
			if err == nil && !response.Success() {
				err = response.CodeError
			}
			return err
		}).
		OnCustomizedEvent("out_approval", func(ctx context.Context, event *larkevent.EventReq) error {
			var approval struct {
				Event struct {
					InstanceCode string `json:"instance_code"`
				} `json:"event"`
			}
			if err := json.Unmarshal(event.Body, &approval); err != nil {
				return err
			}
			fmt.Println("out_approval", approval.Event.InstanceCode)
			return nil
		}).
		OnP2CardActionTrigger(func(ctx context.Context, event *callback.CardActionTriggerEvent) (*callback.CardActionTriggerResponse, error) {
			toast := &callback.Toast{Type: "info", Content: "卡片回传成功 " + event.Event.Action.Tag}
			return &callback.CardActionTriggerResponse{Toast: toast}, nil
		}).
		OnP2CardURLPreviewGet(func(ctx context.Context, event *callback.URLPreviewGetEvent) (*callback.URLPreviewGetResponse, error) {
			inline := &callback.Inline{Title: "链接预览测试 " + event.Event.Context.URL}
			return &callback.URLPreviewGetResponse{Inline: inline}, nil
		})

	cli := larkws.NewClient(appId, appSecret, larkws.WithEventHandler(eventHandler), larkws.WithDomain(domain))
	if err := cli.Start(context.Background()); err != nil {
		panic(err)
	}
}
