import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gunzipSync } from "node:zlib";
import type { Property, PropertyType, Resource as SpecResource, TypeDefinition } from "@aws-cdk/service-spec-types";
import type { Template } from "./stack.ts";

const attributes = new Set(["Type", "Properties", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Metadata"]);
const pseudo = new Set(["AWS::Region", "AWS::AccountId", "AWS::Partition", "AWS::URLSuffix", "AWS::StackName"]);

type Definitions = ReadonlyMap<string, TypeDefinition>;
interface Stored<T> {
  readonly entities: readonly (T & { readonly $id: string })[];
}

let loaded: ReturnType<typeof load> | undefined;

/**
 * AWS's own specification of its resources, as shipped for the CDK. It is read without the CDK's database, whose
 * indexes take twice as long to make as the file takes to parse.
 */
export function loadSpecification() {
  loaded ??= load();
  return loaded;
}

function load() {
  const file = createRequire(import.meta.url).resolve("@aws-cdk/aws-service-spec/db.json.gz");
  const { schema } = JSON.parse(gunzipSync(readFileSync(file)).toString("utf8")) as {
    schema: { readonly resource: Stored<SpecResource>; readonly typeDefinition: Stored<TypeDefinition> };
  };
  const resources = new Map(schema.resource.entities.map((resource) => [resource.cloudFormationType, resource]));
  const definitions: Definitions = new Map(schema.typeDefinition.entities.map((type) => [type.$id, type]));
  const resourceOf = (type: string): SpecResource | undefined => resources.get(type);

  return {
    /** What the specification has against a template, a sentence each. */
    problems(template: Template): string[] {
      const found: string[] = [];
      for (const [id, resource] of Object.entries(template.Resources)) {
        const specified = resourceOf(resource.Type);
        if (specified === undefined) {
          found.push(`${id}: there is no type ${resource.Type}`);
          continue;
        }
        for (const name of Object.keys(resource)) {
          if (!attributes.has(name)) found.push(`${id}: there is no attribute ${name}`);
        }
        found.push(...membersOf(resource.Properties, specified.properties, `${id}`, definitions));
      }
      found.push(...danglingReferences(template, resourceOf));
      return found;
    },

    /** How a type has tags, if it can. */
    tagsOf(type: string): "list" | "map" | undefined {
      const { variant } = resourceOf(type)?.tagInformation ?? {};
      return variant === undefined ? undefined : variant === "map" ? "map" : "list";
    },

    /** Types whose resources hold data. */
    statefulTypes: () =>
      [...resources.values()].filter(({ isStateful }) => isStateful).map((one) => one.cloudFormationType),

    /** Whether a change of this property makes CloudFormation create the resource anew. */
    isReplacedBy(type: string, property: string): boolean {
      return (resourceOf(type)?.properties[property]?.causesReplacement ?? "no") !== "no";
    },
  };
}

type Properties = Readonly<Record<string, Property>>;

function membersOf(value: object, specified: Properties, path: string, definitions: Definitions): string[] {
  const found = Object.entries(specified)
    .filter(([name, { required }]) => required === true && !Object.hasOwn(value, name))
    .map(([name]) => `${path}: ${name} is required`);
  for (const [name, member] of Object.entries(value)) {
    const property = Object.hasOwn(specified, name) ? specified[name] : undefined;
    if (property === undefined) found.push(`${path}: there is no property ${name}`);
    else found.push(...valueProblems(member, property.type, `${path}.${name}`, definitions));
  }
  return found;
}

function valueProblems(value: unknown, type: PropertyType, path: string, definitions: Definitions): string[] {
  // What CloudFormation computes is of the right type when it exists; that is checked elsewhere.
  if (isIntrinsic(value)) return [];
  const wrong = [`${path}: is no ${type.type}`];
  const allowed = "allowedValues" in type ? (type.allowedValues as unknown[] | undefined) : undefined;
  if (allowed !== undefined && !allowed.includes(value)) return [`${path}: ${value} is none of ${allowed.join(", ")}`];
  switch (type.type) {
    case "string":
    case "date-time":
      return typeof value === "string" ? [] : wrong;
    case "integer":
      return Number.isInteger(value) ? [] : wrong;
    case "number":
      return typeof value === "number" ? [] : wrong;
    case "boolean":
      return typeof value === "boolean" ? [] : wrong;
    case "array":
      if (!Array.isArray(value)) return wrong;
      return value.flatMap((element, index) => valueProblems(element, type.element, `${path}.${index}`, definitions));
    case "map":
      if (!isObject(value)) return wrong;
      return Object.entries(value).flatMap(([name, member]) =>
        valueProblems(member, type.element, `${path}.${name}`, definitions),
      );
    case "ref":
      if (!isObject(value)) return wrong;
      return membersOf(value, definitions.get(type.reference.$ref)?.properties ?? {}, path, definitions);
    case "union": {
      const tries = type.types.map((one) => valueProblems(value, one, path, definitions));
      return tries.some((problems) => problems.length === 0) ? [] : (tries[0] ?? []);
    }
    default:
      // JSON and tags: of any shape.
      return [];
  }
}

function danglingReferences(template: Template, resourceOf: (type: string) => SpecResource | undefined): string[] {
  const found: string[] = [];
  const visit = (value: unknown, path: string): void => {
    if (Array.isArray(value)) {
      for (const [index, element] of value.entries()) visit(element, `${path}.${index}`);
      return;
    }
    if (!isObject(value)) return;
    const { Ref: target, "Fn::GetAtt": attribute, "Fn::Sub": text } = value as Record<string, unknown>;
    const targets = [
      ...(typeof target === "string" ? [target] : []),
      ...(typeof text === "string" ? [...text.matchAll(/\$\{([^!}]+)\}/g)].map((match) => match[1] ?? "") : []),
    ];
    const gotten = Array.isArray(attribute) ? [attribute as [string, string]] : [];
    for (const target of targets) {
      // `${EventsQueue.Arn}` in a text.
      const [name = "", ...member] = target.split(".");
      if (member.length > 0) gotten.push([name, member.join(".")]);
      else if (!pseudo.has(name) && !Object.hasOwn(template.Resources, name))
        found.push(`${path}: there is no ${name}`);
    }
    for (const [id, name] of gotten) {
      const type = template.Resources[id]?.Type;
      if (type === undefined) found.push(`${path}: there is no ${id}`);
      else if (!Object.hasOwn(resourceOf(type)?.attributes ?? {}, name)) found.push(`${path}: ${id} has no ${name}`);
    }
    for (const [name, member] of Object.entries(value)) visit(member, `${path}.${name}`);
  };
  visit(template.Resources, "Resources");
  visit(template.Outputs, "Outputs");
  for (const [id, { DependsOn = [] }] of Object.entries(template.Resources)) {
    for (const name of [DependsOn].flat() as string[]) {
      if (!Object.hasOwn(template.Resources, name)) found.push(`${id}: depends on ${name}, which is not there`);
    }
  }
  return found;
}

function isIntrinsic(value: unknown): boolean {
  const [name, ...others] = isObject(value) ? Object.keys(value) : [];
  return name !== undefined && others.length === 0 && (name === "Ref" || name.startsWith("Fn::"));
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
