// Secrets, by the convention that flytekit's connectors follow too.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { FailedPrecondition, InvalidArgument } from "./errors.js";

/** A value that shows itself only to `reveal`: printed, logged or as JSON it is "[secret]". */
export class Secret {
  readonly #read: () => string;

  /** Of a value, or of a function that reads it each time. */
  constructor(value: string | (() => string)) {
    this.#read = typeof value === "string" ? () => value : value;
  }

  /** The secret itself. */
  reveal(): string {
    return this.#read();
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }

  [inspect.custom](): string {
    return "[secret]";
  }
}

/**
 * One of the plugin's own secrets, which the host fills from the plugin's `secrets:`.
 *
 * Looks for the environment variable `_FSEC_<KEY>`, in upper case, and then for the file `/etc/secrets/<key>`, in lower case,
 * without surrounding white space. `FLYTE_SECRETS_ENV_PREFIX`, `FLYTE_SECRETS_DEFAULT_DIR` and `FLYTE_SECRETS_FILE_PREFIX` replace
 * "_FSEC_", "/etc/secrets" and the file name's empty prefix. It is read anew each time, so that secrets can rotate.
 *
 * Throws FailedPrecondition where there is none; the message says where it was looked for.
 */
export function secret(key: string): Secret {
  if (!key || /[/\\]/.test(key)) throw new InvalidArgument(`a secret's key must be a plain name, got ${JSON.stringify(key)}`);
  const variable = (process.env.FLYTE_SECRETS_ENV_PREFIX || "_FSEC_") + key.toUpperCase();
  const set = process.env[variable];
  if (set !== undefined) return new Secret(set);
  const folder = process.env.FLYTE_SECRETS_DEFAULT_DIR || "/etc/secrets";
  const file = join(folder, (process.env.FLYTE_SECRETS_FILE_PREFIX ?? "") + key.toLowerCase());
  try {
    return new Secret(readFileSync(file, "utf8").trim());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
      throw new FailedPrecondition(`secret "${key}" cannot be read: ${(error as Error).message}`);
    }
    throw new FailedPrecondition(
      `there is no secret "${key}": neither the environment variable ${variable} nor the file ${file} exists; ` +
        "add it to the plugin's `secrets:` in the host's configuration",
    );
  }
}
