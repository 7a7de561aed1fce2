/** What a sample is made from. The same facts make the same payload. */
export interface Facts {
  readonly nowMs: number;
  readonly appId: string;
  readonly tenant: string;
  /** 32 hex digits, derived from the event's id and the name. */
  id(name: string): string;
}

/** A user's ids, as in events. */
export interface UserId {
  readonly open_id: string;
  readonly union_id: string;
  readonly user_id: string;
}

/** People and chats of an invented company. All samples use them, so that events can refer to each other. */
export const mei = {
  open_id: "ou_1b7e40c2d95f4a83b6e0c71f2a9d3548",
  union_id: "on_84d1f7a06c3e49b2a5f81c0e7d62b394",
  user_id: "4c8d21fa",
} satisfies UserId;
export const tomas = {
  open_id: "ou_e35a90b7f1c84d26904bd8e7153f6ac2",
  union_id: "on_2f90b6d3e8a74c15b7d04a9e61c8f503",
  user_id: "b907e3d5",
} satisfies UserId;
/** The people who can talk to the bot, by the names they are called in a chat. */
export const people = { mei: { ids: mei, name: "Mei Okafor" }, tomas: { ids: tomas, name: "Tomas Reyes" } } as const;
export type Person = keyof typeof people;

export const bot = {
  open_id: "ou_60fd8b24c7e1493fa2d5b90e8c3174a6",
  union_id: "on_d7c2940e5b1f4e68936a0d8f27be15c4",
  user_id: "",
} satisfies UserId;

export const defaultTenant = "2d94f07b61c8e35a";
export const groupChat = "oc_9f27c4e81b6d40a5b3e8d0721c5f9a64";
export const groupNames = { zh_cn: "仓库值班", en_us: "Warehouse shifts", ja_jp: "倉庫シフト" };
export const department = "od-5e0a7d93c1f84b26ad7e3c90b8f12645";

export function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}

/** 32 hex digits in five groups. */
export function uuid(hex: string): string {
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
