// The addresses of the service as a page, made of its openapi.json.

import { ask } from "./api.js";
import { element, make } from "./dom.js";

/**
 * @typedef {object} Schema
 * @property {string} [$ref]
 * @property {string} [type]
 * @property {string} [description]
 * @property {unknown} [default]
 * @property {unknown} [const]
 * @property {unknown[]} [enum]
 * @property {Schema[]} [anyOf]
 * @property {Schema[]} [prefixItems]
 * @property {Schema} [items]
 * @property {Schema | boolean} [additionalProperties]
 * @property {Record<string, Schema>} [properties]
 * @property {string[]} [required]
 * @property {string} [contentMediaType]
 */
/** @typedef {Record<string, {schema?: Schema}>} Content by media type */
/** @typedef {{name: string, in: string, required?: boolean, description?: string, schema: Schema}} Parameter */
/**
 * @typedef {object} Operation
 * @property {string[]} [tags]
 * @property {string} [description]
 * @property {string} [summary]
 * @property {Parameter[]} [parameters]
 * @property {{content: Content}} [requestBody]
 * @property {Record<string, {description: string, content?: Content}>} responses
 */
/**
 * @typedef {object} Description
 * @property {Record<string, Record<string, Operation>>} paths
 * @property {{schemas: Record<string, Schema>}} components
 */
/** @typedef {{name: string, kind: (Node | string)[], text: string}} Field */

/** @param {string} reference such as "#/components/schemas/Vote" */
const nameOf = (reference) => reference.split("/").pop() ?? "";

/**
 * @param {Schema | undefined} schema
 * @returns {(Node | string)[]} what a value is, with links to what is described below
 */
function kindOf(schema) {
  if (!schema) {
    return ["anything"];
  }
  if (schema.$ref) {
    const name = nameOf(schema.$ref);
    return [make("a", { href: `#${name}` }, name)];
  }
  if (schema.anyOf) {
    return schema.anyOf.flatMap((each, index) => [index ? " or " : "", ...kindOf(each)]);
  }
  if (schema.enum || schema.const !== undefined) {
    return [(schema.enum ?? [schema.const]).map((each) => JSON.stringify(each)).join(" or ")];
  }
  if (schema.type === "array") {
    return schema.prefixItems ? [`list of ${schema.prefixItems.length} numbers`] : ["list of ", ...kindOf(schema.items)];
  }
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return ["by name: ", ...kindOf(schema.additionalProperties)];
  }
  return [schema.contentMediaType ? "file" : (schema.type ?? "anything")];
}

/**
 * @param {Schema} schema of an object
 * @param {boolean} asked whether it is sent, so that what may be left out is said
 * @returns {Field[]}
 */
function fieldsOf(schema, asked) {
  return Object.entries(schema.properties ?? {}).map(([name, each]) => ({
    name,
    kind: kindOf(each),
    text: [each.description ?? "", asked ? need(schema.required?.includes(name) ?? false, each.default) : ""]
      .filter(Boolean)
      .join("; "),
  }));
}

/**
 * @param {boolean} required
 * @param {unknown} usual
 */
function need(required, usual) {
  return required ? "required" : `${JSON.stringify(usual ?? null)} if left out`;
}

/**
 * @param {string} title
 * @param {Field[]} fields
 * @returns {HTMLElement | null}
 */
function table(title, fields) {
  if (!fields.length) {
    return null;
  }
  const rows = fields.map(({ name, kind, text }) =>
    make("tr", {}, make("th", { scope: "row" }, make("code", {}, name)), make("td", {}, ...kind), make("td", {}, text)),
  );
  const heads = ["Name", "What it is", ""].map((head) => make("th", { scope: "col" }, head));
  return make(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": title },
    make("table", {}, make("caption", {}, title), make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)),
  );
}

/**
 * @param {Operation} operation
 * @param {Description} description
 * @returns {Field[]} what is sent
 */
function sent(operation, description) {
  const parameters = (operation.parameters ?? []).map(({ name, required, description: text, schema, in: place }) => ({
    name,
    kind: kindOf(schema),
    text: [`in the ${place}`, text ?? "", need(required ?? false, schema.default)].filter(Boolean).join("; "),
  }));
  const bodies = Object.values(operation.requestBody?.content ?? {});
  const forms = bodies.flatMap(({ schema }) =>
    schema?.$ref ? fieldsOf(description.components.schemas[nameOf(schema.$ref)] ?? {}, true) : [],
  );
  return [...parameters, ...forms];
}

/**
 * @param {Operation} operation
 * @returns {HTMLElement}
 */
function answered({ responses }) {
  const good = Object.entries(responses).filter(([code]) => Number(code) < 400);
  const bad = Object.keys(responses).filter((code) => Number(code) >= 400);
  const kinds = good.flatMap(([code, { content }]) => {
    const [type, body] = Object.entries(content ?? {})[0] ?? [];
    const what = body?.schema && Object.keys(body.schema).length ? kindOf(body.schema) : [type ?? "nothing"];
    return [` ${code}: `, ...what, "."];
  });
  return make("p", {}, "Answers", ...kinds, bad.length ? ` Refusals: ${bad.join(", ")}.` : "");
}

/**
 * @param {string} path
 * @param {string} method
 * @param {Operation} operation
 * @param {Description} description
 */
function address(path, method, operation, description) {
  return make(
    "section",
    {},
    make("h3", {}, make("code", {}, `${method.toUpperCase()} ${path}`)),
    make("p", {}, operation.description || operation.summary || ""),
    table("What is sent", sent(operation, description)),
    answered(operation),
  );
}

/** @param {Description} description */
function show(description) {
  const addresses = element("addresses", HTMLElement);
  let group = "";
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "";
      if (tag !== group) {
        group = tag;
        addresses.append(make("h2", {}, tag));
      }
      addresses.append(address(path, method, operation, description));
    }
  }
  const used = Object.entries(description.components.schemas).filter(([name]) => !name.startsWith("Body_"));
  element("schemas", HTMLElement).append(
    ...used.map(([name, schema]) =>
      make(
        "section",
        { id: name },
        make("h3", {}, name),
        make("p", {}, schema.description ?? ""),
        table(`Fields of ${name}`, fieldsOf(schema, false)),
      ),
    ),
  );
}

try {
  show(/** @type {Description} */ (await ask("openapi.json")));
} catch (error) {
  element("error", HTMLElement).append(make("p", {}, error instanceof Error ? error.message : String(error)));
}
