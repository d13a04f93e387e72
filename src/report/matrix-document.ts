import { bitsOf, type Cell, type Column, type Model, type Refusal, vendorOfModel } from './matrix.js';
import { changeGroups, refusalGroups } from './matrix-groups.js';

const hex = (value: number): string => (value >>> 0).toString(16);

/** A column that could not be made: KVM does not load there, or offers no VM of the type. */
export interface Unavailable {
  readonly host: string;
  readonly vmType: string;
  readonly why: string;
}

export interface MatrixResult {
  readonly policy: string;
  readonly filter: string;
  readonly models: readonly Model[];
  readonly columns: readonly Column[];
  readonly unavailable: readonly Unavailable[];
  readonly cells: readonly Cell[];
}

/** The document of `matrix --json`. `refused` and `changes` of a cell are positions in the lists below it. */
export function matrixDocument(result: MatrixResult) {
  const { policy, filter, models, columns, unavailable, cells } = result;
  const refusals = refusalGroups(cells);
  const changes = changeGroups(cells);
  const bitAt = new Map(refusals.map(({ refusal }, at) => [`${refusal.place} ${refusal.reason}`, at]));
  const changeAt = new Map(changes.map(({ cause }, at) => [cause.text, at]));
  const names = (list: readonly Model[]) => list.map(({ name }) => name);
  const columnNames = (list: readonly Column[]) => list.map(({ name }) => name);
  const refused = cells.filter(({ errno }) => errno !== 'OK').length;
  return {
    accepted: cells.length > 0 && refused === 0,
    policy,
    filter,
    totals: { models: models.length, pairs: cells.length, accepted: cells.length - refused, refused },
    columns: columns.map(({ host, vmType, vendor, overlay, name }) => ({
      name,
      host: host.name,
      vm_type: vmType,
      vendor,
      kernel: host.inputs.kernel,
      overlay,
      // No kernel runs TDs without any check.
      counterfactual: vmType === 'tdx' && policy === 'off',
    })),
    unavailable: unavailable.map(({ host, vmType, why }) => ({ host, vm_type: vmType, why })),
    models: models.map((model) => ({
      name: model.name,
      source: model.source,
      vendor: vendorOfModel(model),
      vcpus: model.tables.length,
    })),
    cells: cells.map((cell) => ({
      model: cell.model.name,
      column: cell.column.name,
      accepted: cell.errno === 'OK',
      errno: cell.errno,
      off: { accepted: cell.off === 'OK', errno: cell.off },
      bits: bitsOf(cell.refusals),
      refused: cell.refusals.map(({ place, reason }) => bitAt.get(`${place} ${reason}`)),
      changes: cell.changes.map(({ cause }) => changeAt.get(cause.text)),
    })),
    bits: refusals.map(({ refusal, models: inModels, columns: onColumns, pairs }) => ({
      ...refusalDocument(refusal),
      pairs,
      models: names(inModels),
      columns: columnNames(onColumns),
    })),
    changes: changes.map(({ cause, refusals: cured, models: inModels, columns: onColumns, pairs, bits }) => ({
      action: cause.action,
      change: cause.text,
      places: cured.map(({ place }) => place),
      pairs,
      bits,
      models: names(inModels),
      columns: columnNames(onColumns),
    })),
  };
}

function refusalDocument({ place, function: fn, index, register, high, low, name, reason, clobbers }: Refusal) {
  return { place, function: hex(fn), index: hex(index), register, high, low, name, reason, clobbers };
}
