import { onEvent } from "larkpost";

declare module "larkpost" {
  interface EventTypes {
    /** https://open.feishu.cn/document/ukTMukTMukTM/uIDO24iM4YjLygjN/event/common-event/approval-instance-event */
    approval_instance: {
      approval_code: string;
      instance_code: string;
      status:
        | "PENDING"
        | "APPROVED"
        | "REJECTED"
        | "CANCELED"
        | "DELETED"
        | "REVERTED"
        | "OVERTIME_CLOSE"
        | "OVERTIME_RECOVER";
      /** Milliseconds: a string, but a number when the status is REVERTED. */
      operate_time: string | number;
      instance_operate_time?: string;
      /** The `uuid` of the API call that created the instance, not the event's id. */
      uuid?: string;
    };
  }
}

/** Logs each step of an approval (schema 1.0). */
export default onEvent("approval_instance", async ({ status }, { log }) => {
  log.info("An approval changed", { status });
});
