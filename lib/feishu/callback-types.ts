/** Languages for the texts of an answer; the client picks its own. */
export type Language =
  | "zh_cn"
  | "en_us"
  | "zh_hk"
  | "zh_tw"
  | "ja_jp"
  | "id_id"
  | "vi_vn"
  | "th_th"
  | "pt_br"
  | "es_es"
  | "ko_kr"
  | "de_de"
  | "fr_fr"
  | "it_it"
  | "ru_ru"
  | "ms_my"
  | "hi_in";
export type Translations = { readonly [L in Language]?: string };

export interface Operator {
  readonly tenant_key?: string;
  readonly open_id: string;
  readonly union_id?: string;
  /** Only with the scope for it. */
  readonly user_id?: string;
}

export interface CardContext {
  readonly url?: string;
  readonly preview_token?: string;
  readonly open_message_id?: string;
  readonly open_chat_id?: string;
}

/**
 * A user clicked or filled in a component of a card.
 * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-callback-communication
 */
export interface CardAction {
  readonly operator: Operator;
  /** Credential for updating the card (`c-…`): valid for 30 minutes and two updates, after the answer was sent. */
  readonly token: string;
  readonly action: {
    /**
     * An object or a text, as the card's author wrote it. A client sends it, so the person who clicked can change it:
     * sign values that must not be forged (`signValue`).
     */
    // biome-ignore lint/suspicious/noExplicitAny: only the card's author knows its shape.
    readonly value?: any;
    /** `button`, `select_static`, `input`, `checker`, `date_picker`, … */
    readonly tag: string;
    readonly timezone?: string;
    readonly name?: string;
    /** On a form's submit button: the values of the form's components, by name. */
    readonly form_value?: Readonly<Record<string, unknown>>;
    readonly input_value?: string;
    readonly option?: string;
    readonly options?: readonly string[];
    readonly checked?: boolean;
  };
  readonly host?: "im_message" | "im_top_notice" | (string & {});
  readonly delivery_type?: string;
  readonly context?: CardContext;
}

/**
 * A client is about to show a link that matches one of the app's rules. While the message is being typed, the ids in
 * `context` are empty or missing.
 * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/development-link-preview/pull-link-preview-data-callback-structure
 */
export interface UrlPreview {
  readonly operator: Operator;
  readonly host?: "im_message" | "im_top_notice" | (string & {});
  readonly context: CardContext & { readonly url: string };
}

/**
 * The old card callback, which has no envelope.
 * https://open.feishu.cn/document/ukTMukTMukTM/uYzM3QjL2MzN04iNzcDN/configuring-card-callbacks/card-callback-structure
 */
export interface OldCardAction {
  readonly open_id: string;
  readonly user_id?: string;
  readonly open_message_id?: string;
  readonly open_chat_id?: string;
  readonly tenant_key?: string;
  readonly token: string;
  readonly timezone?: string;
  readonly action: CardAction["action"];
}

export interface Toast {
  readonly type?: "info" | "success" | "error" | "warning";
  readonly content?: string;
  readonly i18n?: Translations;
}

export interface TemplateCard {
  readonly type: "template";
  readonly data: {
    readonly template_id: string;
    readonly template_version_name?: string;
    readonly template_variable?: Readonly<Record<string, unknown>>;
  };
}
export interface RawCard {
  readonly type: "raw";
  /** A card's JSON, in the version (1.0, 2.0) of the card that is shown. */
  readonly data: Readonly<Record<string, unknown>>;
}

/** Nothing or an empty object leaves the card as it is. */
export interface CardAnswer {
  readonly toast?: Toast;
  readonly card?: RawCard | TemplateCard;
}

export interface UrlPreviewAnswer {
  readonly inline?: {
    readonly title?: string;
    /** Takes precedence over `title`. */
    readonly i18n_title?: Translations;
    readonly image_key?: string;
    readonly url?: {
      readonly copy_url?: string;
      readonly ios?: string;
      readonly android?: string;
      readonly pc?: string;
      readonly web?: string;
    };
  };
  readonly card?: RawCard | TemplateCard;
}

/** A card of version 1.0 or a template, with an optional toast. */
export type OldCardAnswer = Readonly<Record<string, unknown>> & { readonly toast?: Toast };
