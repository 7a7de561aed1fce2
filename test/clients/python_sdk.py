# The official Python SDK, as the Feishu documents use it for events and for callbacks:
# https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
# https://open.feishu.cn/document/event-subscription-guide/callback-subscription/step-1-choose-a-subscription-mode/configure-callback-request-address
# https://open.feishu.cn/document/server-side-sdk/python--sdk/handle-events
import json
import os

import lark_oapi as lark
from lark_oapi.api.im.v1 import CreateMessageRequest, CreateMessageRequestBody
from lark_oapi.event.callback.model.p2_card_action_trigger import P2CardActionTrigger, P2CardActionTriggerResponse
from lark_oapi.event.callback.model.p2_url_preview_get import P2URLPreviewGet, P2URLPreviewGetResponse

APP_ID, APP_SECRET, DOMAIN = (os.environ[name] for name in ("APP_ID", "APP_SECRET", "LARK_DOMAIN"))
client = lark.Client.builder().app_id(APP_ID).app_secret(APP_SECRET).domain(DOMAIN).build()


def do_p2_im_message_receive_v1(data: lark.im.v1.P2ImMessageReceiveV1) -> None:
    text = json.loads(data.event.message.content)["text"]
    body = (
        CreateMessageRequestBody.builder()
        .receive_id(data.event.message.chat_id)
        .msg_type("text")
        .content(json.dumps({"text": f"回复： {text}"}))
        .build()
    )
    request = CreateMessageRequest.builder().receive_id_type("chat_id").request_body(body).build()
    response = client.im.v1.message.create(request)
    if not response.success():
        raise RuntimeError(response.msg)


def do_message_event(data: lark.CustomizedEvent) -> None:
    print("out_approval", data.event["instance_code"], flush=True)


def do_card_action_trigger(data: P2CardActionTrigger) -> P2CardActionTriggerResponse:
    toast = {"type": "info", "content": f"卡片回传成功 {data.event.action.tag}"}
    return P2CardActionTriggerResponse({"toast": toast})


def do_url_preview_get(data: P2URLPreviewGet) -> P2URLPreviewGetResponse:
    return P2URLPreviewGetResponse({"inline": {"title": f"链接预览测试 {data.event.context.url}"}})


event_handler = (
    lark.EventDispatcherHandler.builder("", "")
    .register_p2_im_message_receive_v1(do_p2_im_message_receive_v1)
    .register_p1_customized_event("out_approval", do_message_event)
    .register_p2_card_action_trigger(do_card_action_trigger)
    .register_p2_url_preview_get(do_url_preview_get)
    .build()
)
lark.ws.Client(APP_ID, APP_SECRET, event_handler=event_handler, domain=DOMAIN).start()
