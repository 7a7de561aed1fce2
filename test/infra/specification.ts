import { hash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Property, PropertyType, Resource as SpecResource, TypeDefinition } from "@aws-cdk/service-spec-types";
import type { Template } from "./stack.ts";

const attributes = new Set(["Type", "Properties", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Metadata"]);
const pseudo = new Set(["AWS::Region", "AWS::AccountId", "AWS::Partition", "AWS::URLSuffix", "AWS::StackName"]);

type Definitions = Readonly<Record<string, TypeDefinition>>;
interface Stored<T> {
  readonly entities: readonly (T & { readonly $id: string })[];
}
/** What the specification says of one type of resource, with the definitions that it refers to. */
interface Specified {
  /** Left out: there is no such type. */
  readonly resource?: SpecResource | undefined;
  readonly definitions: Definitions;
}

let loaded: ReturnType<typeof load> | undefined;

/** AWS's own specification of its resources, as shipped for the CDK. */
export function loadSpecification() {
  loaded ??= load();
  return loaded;
}

/**
 * Finds what the specification says of a type, and keeps it for the next run: to read all of it takes longer than most
 * test files, and leaves 60 MB to the garbage collector.
 */
function specifiedTypes(): (type: string) => Specified {
  const packed = readFileSync(createRequire(import.meta.url).resolve("@aws-cdk/aws-service-spec/db.json.gz"));
  const cache = join(import.meta.dirname, "../../node_modules/.cache/larkpost");
  const kept = join(cache, `specification-${hash("sha1", packed)}.json`);
  const text = existsSync(kept) ? readFileSync(kept, "utf8") : "{}";
  const types = new Map(Object.entries(JSON.parse(text) as Record<string, Specified>));
  let readType: ((type: string) => Specified) | undefined;
  return (type) => {
    if (readType === undefined && !types.has(type)) {
      readType = readAll(packed);
      process.once("exit", () => {
        mkdirSync(dirname(kept), { recursive: true });
        // Whole at once, because other processes read it.
        writeFileSync(`${kept}.${process.pid}`, JSON.stringify(Object.fromEntries(types)));
        renameSync(`${kept}.${process.pid}`, kept);
      });
    }
    const found = types.get(type) ?? (readType as (type: string) => Specified)(type);
    types.set(type, found);
    return found;
  };
}

/** Reads the file without the CDK's database, whose indexes take twice as long to make as the file takes to parse. */
function readAll(packed: Buffer): (type: string) => Specified {
  const { schema } = JSON.parse(gunzipSync(packed).toString("utf8")) as {
    schema: { readonly resource: Stored<SpecResource>; readonly typeDefinition: Stored<TypeDefinition> };
  };
  const resources = new Map(schema.resource.entities.map((resource) => [resource.cloudFormationType, resource]));
  const all = new Map(schema.typeDefinition.entities.map((definition) => [definition.$id, definition]));
  return (type) => {
    const resource = resources.get(type);
    const definitions: Record<string, TypeDefinition> = {};
    const visit = (value: unknown): void => {
      if (typeof value !== "object" || value === null) return;
      const { $ref: id } = value as { readonly $ref?: string };
      const definition = id === undefined ? undefined : all.get(id);
      if (id !== undefined && definition !== undefined && !Object.hasOwn(definitions, id)) {
        definitions[id] = definition;
        visit(definition.properties);
      }
      for (const member of Object.values(value)) visit(member);
    };
    visit(resource?.properties);
    return { resource, definitions };
  };
}

function load() {
  const specified = specifiedTypes();
  const resourceOf = (type: string) => specified(type).resource;

  return {
    /** What the specification has against a template, a sentence each. */
    problems(template: Template): string[] {
      const found: string[] = [];
      for (const [id, resource] of Object.entries(template.Resources)) {
        const { resource: type, definitions } = specified(resource.Type);
        if (type === undefined) {
          found.push(`${id}: there is no type ${resource.Type}`);
          continue;
        }
        for (const name of Object.keys(resource)) {
          if (!attributes.has(name)) found.push(`${id}: there is no attribute ${name}`);
        }
        found.push(...membersOf(resource.Properties, type.properties, `${id}`, definitions));
      }
      found.push(...danglingReferences(template, resourceOf));
      return found;
    },

    /** How a type has tags, if it can. */
    tagsOf(type: string): "list" | "map" | undefined {
      const { variant } = resourceOf(type)?.tagInformation ?? {};
      return variant === undefined ? undefined : variant === "map" ? "map" : "list";
    },

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
      return membersOf(value, definitions[type.reference.$ref]?.properties ?? {}, path, definitions);
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
