// The official Java SDK, as the Feishu documents use it for events and for callbacks:
// https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
// https://open.feishu.cn/document/event-subscription-guide/callback-subscription/step-1-choose-a-subscription-mode/configure-callback-request-address
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.lark.oapi.core.request.EventReq;
import com.lark.oapi.event.CustomEventHandler;
import com.lark.oapi.event.EventDispatcher;
import com.lark.oapi.event.cardcallback.P2CardActionTriggerHandler;
import com.lark.oapi.event.cardcallback.P2URLPreviewGetHandler;
import com.lark.oapi.event.cardcallback.model.CallBackToast;
import com.lark.oapi.event.cardcallback.model.P2CardActionTrigger;
import com.lark.oapi.event.cardcallback.model.P2CardActionTriggerResponse;
import com.lark.oapi.event.cardcallback.model.P2URLPreviewGet;
import com.lark.oapi.event.cardcallback.model.P2URLPreviewGetResponse;
import com.lark.oapi.event.cardcallback.model.URLPreviewGetInline;
import com.lark.oapi.service.im.ImService;
import com.lark.oapi.service.im.v1.model.CreateMessageReq;
import com.lark.oapi.service.im.v1.model.CreateMessageReqBody;
import com.lark.oapi.service.im.v1.model.CreateMessageResp;
import com.lark.oapi.service.im.v1.model.P2MessageReceiveV1;
import java.nio.charset.StandardCharsets;

public class Sample {
    private static final String APP_ID = System.getenv("APP_ID");
    private static final String APP_SECRET = System.getenv("APP_SECRET");
    private static final String DOMAIN = System.getenv("LARK_DOMAIN");
    private static final com.lark.oapi.Client CLIENT =
            com.lark.oapi.Client.newBuilder(APP_ID, APP_SECRET).openBaseUrl(DOMAIN).build();

    private static final EventDispatcher EVENT_HANDLER = EventDispatcher.newBuilder("", "")
            .onP2MessageReceiveV1(new ImService.P2MessageReceiveV1Handler() {
                @Override
                public void handle(P2MessageReceiveV1 event) throws Exception {
                    String content = event.getEvent().getMessage().getContent();
                    JsonObject answer = new JsonObject();
                    String text = JsonParser.parseString(content).getAsJsonObject().get("text").getAsString();
                    answer.addProperty("text", "回复： " + text);
                    CreateMessageResp response = CLIENT.im().message().create(CreateMessageReq.newBuilder()
                            .receiveIdType("chat_id")
                            .createMessageReqBody(CreateMessageReqBody.newBuilder()
                                    .receiveId(event.getEvent().getMessage().getChatId())
                                    .msgType("text")
                                    .content(answer.toString())
                                    .build())
                            .build());
                    if (!response.success()) {
                        throw new IllegalStateException(response.getMsg());
                    }
                }
            })
            .onCustomizedEvent("out_approval", new CustomEventHandler() {
                @Override
                public void handle(EventReq event) throws Exception {
                    String body = new String(event.getBody(), StandardCharsets.UTF_8);
                    JsonObject approval = JsonParser.parseString(body).getAsJsonObject().getAsJsonObject("event");
                    System.out.println("out_approval " + approval.get("instance_code").getAsString());
                }
            })
            .onP2CardActionTrigger(new P2CardActionTriggerHandler() {
                @Override
                public P2CardActionTriggerResponse handle(P2CardActionTrigger event) throws Exception {
                    CallBackToast toast = new CallBackToast();
                    toast.setType("info");
                    toast.setContent("卡片回传成功 " + event.getEvent().getAction().getTag());
                    P2CardActionTriggerResponse response = new P2CardActionTriggerResponse();
                    response.setToast(toast);
                    return response;
                }
            })
            .onP2URLPreviewGet(new P2URLPreviewGetHandler() {
                @Override
                public P2URLPreviewGetResponse handle(P2URLPreviewGet event) throws Exception {
                    URLPreviewGetInline inline = new URLPreviewGetInline();
                    inline.setTitle("链接预览测试 " + event.getEvent().getContext().getUrl());
                    P2URLPreviewGetResponse response = new P2URLPreviewGetResponse();
                    response.setInline(inline);
                    return response;
                }
            })
            .build();

    public static void main(String[] args) {
        new com.lark.oapi.ws.Client.Builder(APP_ID, APP_SECRET).domain(DOMAIN).eventHandler(EVENT_HANDLER).build().start();
    }
}
