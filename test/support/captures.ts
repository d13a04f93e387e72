import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

// biome-ignore lint/suspicious/noExplicitAny: a capture is what the recorder wrote; tests look into it freely
export type Capture = any;

const FIXTURES = new URL('../fixtures/captures/', import.meta.url);
const SHARED = new URL('../../../shared/captures/', import.meta.url);

/** Captures of a stock vendor module: the fixtures, and whatever else lies in `../shared/captures`. */
function files(): Map<string, URL> {
  const found = new Map<string, URL>();
  for (const folder of [FIXTURES, SHARED]) {
    if (!existsSync(folder)) continue;
    for (const file of readdirSync(folder)) {
      if (file.endsWith('.json.gz') && !file.startsWith('third-vendor'))
        found.set(file.slice(0, -8), new URL(file, folder));
    }
  }
  return found;
}

const found = files();

export const captureNames: readonly string[] = [...found.keys()].sort();

export function captureFile(name: string): string {
  return found.get(name)!.pathname;
}

export function loadCapture(name: string): Capture {
  return JSON.parse(gunzipSync(readFileSync(found.get(name)!)).toString());
}
