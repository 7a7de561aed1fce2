import { Refusal } from "./answer.ts";
import { type OpenCall, required } from "./route.ts";

/** An app that may request tokens. */
export type App =
  | { readonly kind: "self-built"; readonly appId: string; readonly appSecret: string; readonly tenant?: string }
  /** `tenants`: where it is installed. If absent, it is installed everywhere. */
  | {
      readonly kind: "marketplace";
      readonly appId: string;
      readonly appSecret: string;
      readonly tenants?: readonly string[];
    };

export interface AppTicket {
  readonly appId: string;
  readonly ticket: string;
}

/** The newest ticket and the one before it are valid, because the push of the newest may still be under way. */
const validTickets = 2;

/** The apps, which of them are disabled, and the tickets of marketplace apps. */
export function createApps(options: {
  readonly apps: readonly App[];
  readonly newId: () => string;
  readonly onAppTicket: (ticket: AppTicket) => void;
}) {
  const apps = new Map(options.apps.map((app) => [app.appId, app]));
  const disabled = new Set<string>();
  const tickets = new Map<string, string[]>();

  return {
    get: (appId: string): App | undefined => apps.get(appId),
    isDisabled: (appId: string): boolean => disabled.has(appId),
    /** An administrator disables or enables an app. A disabled app gets no tokens, and its tokens are refused. */
    setDisabled(appId: string, isDisabled: boolean): void {
      if (isDisabled) disabled.add(appId);
      else disabled.delete(appId);
    },

    /** The app whose id and secret the body contains. @throws {Refusal} */
    authenticate({ body }: OpenCall): App {
      const app = apps.get(required(body, "app_id", 10003));
      const secret = required(body, "app_secret", 10003);
      if (app === undefined) throw new Refusal(10003, "no such app");
      if (app.appSecret !== secret) throw new Refusal(10015);
      if (disabled.has(app.appId)) throw new Refusal(10014);
      return app;
    },

    /** Makes a ticket, which the platform pushes to a marketplace app every hour. */
    issueTicket(appId: string): void {
      if (apps.get(appId)?.kind !== "marketplace") throw new RangeError(`"${appId}" is not a marketplace app`);
      const ticket = `g-${options.newId()}`;
      tickets.set(appId, [ticket, ...(tickets.get(appId) ?? [])].slice(0, validTickets));
      options.onAppTicket({ appId, ticket });
    },
    hasTicket: (appId: string, ticket: string): boolean => tickets.get(appId)?.includes(ticket) === true,
  };
}

export type Apps = ReturnType<typeof createApps>;
