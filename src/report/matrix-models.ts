import { checkInput, detectText, isBinary } from '../cpuid/formats/detect.js';
import { payloadFromJson } from '../cpuid/formats/entries.js';
import { isCapture, type Selection, selectPath } from '../cpuid/formats/index.js';
import { isObject, parseJson } from '../cpuid/formats/json.js';
import { decodeText } from '../cpuid/formats/text.js';
import { readPayload } from '../index.js';
import type { Model } from './matrix.js';

/** How deep a collection may be: objects of objects of tables. */
const MAX_DEPTH = 4;

/**
 * Reads all tables of a file: of a JSON collection every object that holds `entries` or `vcpus`, of any other format
 * the one that it is.
 *
 * @param bytes decompressed
 * @param name what messages call the input
 * @param path for JSON, where in the document to look; empty for all of it
 * @throws FormatError on what is no table and holds none
 */
export function readModels(bytes: Uint8Array, name: string, path = ''): Model[] {
  const source = path === '' ? name : `${name}#${path}`;
  const whole = (): Model[] => [{ name: nameOf(name, path), source, tables: readPayload(bytes, name, path).tables }];
  checkInput(bytes, name);
  if (isBinary(bytes)) return whole();
  const text = decodeText(bytes);
  if (detectText(text, name) !== 'json') return whole();
  const selection = selectPath(parseJson(text, name), path, name);
  if (isTable(selection.value) || isCapture(selection.value, name)) return whole();
  const models = modelsInside(selection, MAX_DEPTH);
  return models.length > 0 ? models : whole();
}

function modelsInside({ value, place }: Selection, depth: number): Model[] {
  if (!isObject(value) || depth === 0) return [];
  return Object.entries(value).flatMap(([key, child]) => {
    const selection = { value: child, place: place.inside(key) };
    if (!isTable(child)) return modelsInside(selection, depth - 1);
    return [{ name: key, source: selection.place.toString(), tables: payloadFromJson(selection).tables }];
  });
}

const isTable = (value: unknown): boolean =>
  Array.isArray(value) || (isObject(value) && (Array.isArray(value.entries) || Array.isArray(value.vcpus)));

/** The last key of a path, else the file without folder and ending. */
function nameOf(file: string, path: string): string {
  if (path !== '') return path.slice(path.indexOf('.') + 1);
  return file.replace(/^.*[/\\]/, '').replace(/\.(json|bin|txt)$/, '');
}

/** Tells models of different files with one name apart by their sources. */
export function withUniqueNames(models: readonly Model[]): Model[] {
  const count = new Map<string, number>();
  for (const { name } of models) count.set(name, (count.get(name) ?? 0) + 1);
  return models.map((model) => {
    if (count.get(model.name) === 1) return model;
    const file = nameOf(model.source.replace(/#.*$/s, ''), '');
    return { ...model, name: `${file}:${model.name}` };
  });
}
