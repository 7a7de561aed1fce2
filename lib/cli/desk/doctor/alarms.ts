import type { MetricAlarm } from "@aws-sdk/client-cloudwatch";
import type { Check } from "./check.ts";
import { type Finding, found } from "./finding.ts";
import type { Stage } from "./stage.ts";

export const alarmChecks: readonly Check<Stage>[] = [
  {
    id: "alarms",
    about: "the alarms",
    fine: "the alarms are on, have somebody who hears them, and none rings",
    right: "cloudwatch:DescribeAlarms",
    async find(stage) {
      if ((await stage.deployed()) === undefined) return undefined;
      const alarms = await alarmsOf(stage);
      if (alarms.length === 0) return undefined;
      const nameOf = ({ AlarmName = "" }: MetricAlarm) => AlarmName.slice(stage.name.length + 1);
      const listed = (list: readonly MetricAlarm[]) => list.map(nameOf).join(", ");
      const off = alarms.filter(({ ActionsEnabled }) => ActionsEnabled === false);
      const ringing = alarms.filter(({ StateValue }) => StateValue === "ALARM");
      const unheard = alarms.filter(({ AlarmActions = [] }) => AlarmActions.length === 0);
      const findings: Finding[] = [];
      if (off.length > 0) {
        const cure = `Turn them on: "aws cloudwatch enable-alarm-actions --region ${stage.region} --alarm-names ${off.map(({ AlarmName }) => AlarmName).join(" ")}"`;
        findings.push(found("alarms-off", `alarms tell nobody, since their actions are off: ${listed(off)}`, cure));
      }
      if (unheard.length > 0) {
        const what = `${unheard.length} of ${alarms.length} alarms tell nobody: they have no topic`;
        const cure = `Deploy with topics: "npm run deploy --${stage.args} --param pageTopicArn=arn:… --param ticketTopicArn=arn:…"`;
        findings.push(found("alarms-without-topic", what, cure));
      }
      const rings = ringing.map((alarm) =>
        found("alarms-ring", `the alarm ${nameOf(alarm)} rings`, `Read docs/operate.md, ${headingOf(alarm)}`),
      );
      return [...findings, ...rings];
    },
  },
];

/** The runbook's heading, which an alarm's description names. A lane's alarm has the heading of the default lane. */
function headingOf({ AlarmDescription = "" }: MetricAlarm): string {
  return /heading "[^"]+"/.exec(AlarmDescription)?.[0] ?? "Runbook";
}

/** The stage's alarms. Those of another, whose name begins as this one's does, are left out by their text. */
async function alarmsOf({ clients, name, stage }: Stage): Promise<MetricAlarm[]> {
  const alarms: MetricAlarm[] = [];
  for (let NextToken: string | undefined; ; ) {
    const AlarmNamePrefix = `${name}-`;
    const page = await clients.cloudWatch.describeAlarms({ AlarmNamePrefix, AlarmTypes: ["MetricAlarm"], NextToken });
    alarms.push(...(page.MetricAlarms ?? []));
    NextToken = page.NextToken;
    if (NextToken === undefined) break;
  }
  const ofStage = new RegExp(`--stage ${stage}\\b(?!-)`);
  return alarms.filter(({ AlarmDescription = "" }) => ofStage.test(AlarmDescription));
}
