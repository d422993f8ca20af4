// Values that are kept as JSON, and must come back as they are.
import { isDeepStrictEqual } from "node:util";

/** A value as JSON. Throws a TypeError that says why it would not come back, by `read`, as it is. */
export function kept(value: unknown, read: (json: string) => unknown): string {
  const json: string | undefined = JSON.stringify(value);
  if (json === undefined) throw new TypeError(`JSON cannot hold a ${typeof value}`);
  const lost = differing(value, read(json));
  if (lost.length > 0) throw new TypeError(`${lost.join(", ")} would come back as another value`);
  return json;
}

/** What another value does not have as it is: fields of an object, or the whole. */
function differing(one: unknown, other: unknown): string[] {
  if (typeof one !== "object" || one === null || typeof other !== "object" || other === null) {
    return isDeepStrictEqual(one, other) ? [] : ["it"];
  }
  const [left, right] = [one as Record<string, unknown>, other as Record<string, unknown>];
  return [...new Set([...Object.keys(left), ...Object.keys(right)])].filter((key) => !isDeepStrictEqual(left[key], right[key]));
}
