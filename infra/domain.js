import { frontsOf } from "./deployment.js";
import { refusal } from "./refusal.js";
import { stackResources } from "./tags.js";

/** @typedef {import("./deployment.js").Deployment} Deployment */

const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const pattern = new RegExp(`^((?:${label}\\.)+[a-z]{2,63})((?:/[A-Za-z0-9._-]+)*)$`);

/**
 * The host and the base path of `--param domain`; `undefined` without one.
 * @param {Pick<Deployment, "domain" | "front" | "region" | "certificateArn" | "hostedZoneId">} deployment
 * @throws {import("../lib/errors.ts").ConfigError} It could not be deployed so.
 */
export function domainOf({ domain, front, region, certificateArn, hostedZoneId }) {
  if (domain === "") return undefined;
  const [, host, path] = pattern.exec(domain) ?? [];
  if (host === undefined || path === undefined) {
    throw refused(`"${domain}", no host in small letters with or without a base path, like bot.example.com/feishu`);
  }
  if (!frontsOf({ front }).hasApi) {
    throw refused(`"${domain}", and only the HTTP API has a domain. Use front=httpApi or both`);
  }
  if (certificateArn === "" && hostedZoneId === "") {
    throw refused(
      `"${domain}", and has no certificate. Pass --param certificateArn, or --param hostedZoneId to have one made`,
    );
  }
  if (certificateArn !== "" && !certificateArn.startsWith(certificatesOf(region, certificateArn))) {
    const text = `certificateArn is "${certificateArn}", no certificate of ${region}, where the HTTP API is`;
    throw refusal(`Cannot deploy: ${text}. Check --param certificateArn`);
  }
  if (hostedZoneId !== "" && !/^Z[0-9A-Z]{1,31}$/.test(hostedZoneId)) {
    throw refusal(
      `Cannot deploy: hostedZoneId is "${hostedZoneId}", no id like Z0123456789ABC. Check --param hostedZoneId`,
    );
  }
  return { host, basePath: path.slice(1) };
}

/** @param {string} found */
function refused(found) {
  return refusal(`Cannot deploy: domain is ${found}. Check --param domain`);
}

/**
 * How the ARNs of a region's certificates begin, in whichever partition.
 * @param {string} region
 * @param {string} arn
 */
function certificatesOf(region, arn) {
  return `arn:${arn.split(":")[1]}:acm:${region}:`;
}

/**
 * A domain in front of the HTTP API, so that the addresses in the developer console outlast the API.
 * @param {Deployment} deployment
 */
function domainResources(deployment) {
  const found = domainOf(deployment);
  if (found === undefined) return {};
  const { host, basePath } = found;
  const { certificateArn, hostedZoneId } = deployment;
  const CertificateArn = certificateArn === "" ? { Ref: "HttpApiCertificate" } : certificateArn;
  const target = (/** @type {string} */ name) => ({ "Fn::GetAtt": ["HttpApiDomain", name] });
  return {
    ...(certificateArn === ""
      ? {
          HttpApiCertificate: {
            Type: "AWS::CertificateManager::Certificate",
            Properties: {
              DomainName: host,
              ValidationMethod: "DNS",
              // ACM writes the record that proves the domain, and renews the certificate by it.
              DomainValidationOptions: [{ DomainName: host, HostedZoneId: hostedZoneId }],
            },
          },
        }
      : {}),
    HttpApiDomain: {
      Type: "AWS::ApiGatewayV2::DomainName",
      Properties: {
        DomainName: host,
        DomainNameConfigurations: [{ CertificateArn, EndpointType: "REGIONAL", SecurityPolicy: "TLS_1_2" }],
      },
    },
    HttpApiDomainMapping: {
      Type: "AWS::ApiGatewayV2::ApiMapping",
      Properties: {
        ApiId: { Ref: "HttpApi" },
        Stage: { Ref: "HttpApiStage" },
        DomainName: { Ref: "HttpApiDomain" },
        ...(basePath === "" ? {} : { ApiMappingKey: basePath }),
      },
    },
    ...(hostedZoneId === ""
      ? {}
      : {
          HttpApiDomainRecord: {
            Type: "AWS::Route53::RecordSet",
            Properties: {
              HostedZoneId: hostedZoneId,
              Name: host,
              Type: "A",
              AliasTarget: { DNSName: target("RegionalDomainName"), HostedZoneId: target("RegionalHostedZoneId") },
            },
          },
        }),
  };
}

export const domain = stackResources(domainResources);
