import { plugin } from "./plugin.js";

plugin().serve();
