import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));

export default defineConfig({
  test: { include: ["tests/**/*.test.ts", "examples/**/*.test.ts"], testTimeout: 30_000, hookTimeout: 30_000 },
  resolve: {
    alias: [
      { find: /^agenthost$/, replacement: here("src/index.ts") },
      { find: /^agenthost\/testing$/, replacement: here("src/testing/index.ts") },
      { find: /^agenthost\/vitest$/, replacement: here("src/testing/vitest.ts") },
      { find: /^agenthost\/(http|jobstore|storage)$/, replacement: here("src/$1.ts") },
    ],
  },
});
