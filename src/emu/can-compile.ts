/** Whether text may be compiled here: some environments forbid `new Function`. */
export function canCompile(): boolean {
  try {
    return new Function('return true')() === true;
  } catch {
    return false;
  }
}
