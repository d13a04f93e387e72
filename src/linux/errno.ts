/** The errno values that the modelled ioctls return (x86-64 numbers). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  ENOMEM: 12,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  EOPNOTSUPP: 95,
} as const;
export type ErrnoName = keyof typeof ERRNO;

const names = new Map<number, ErrnoName>(Object.entries(ERRNO).map(([name, value]) => [value, name as ErrnoName]));

/** The name of a system call's result: `OK` for zero and above, the errno's name below. */
export function errnoName(result: number): ErrnoName | 'OK' {
  if (result >= 0) return 'OK';
  const name = names.get(-result);
  if (name === undefined) throw new Error(`${result} is no errno that is modelled`);
  return name;
}
