// Packages that only some plugins need, and that npm does not install by itself.
import { LoadError, reasonOf } from "./errors.js";

/** Imports a package for a part of the SDK, or says how to get it. */
export async function optional<T>(part: string, packages: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    throw new LoadError(`${part} needs other packages: npm install ${packages} (${reasonOf(error)})`);
  }
}
