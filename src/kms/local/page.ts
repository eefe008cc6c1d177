/** A part of a long list: the names after one, and at most so many. */

export interface PageOptions {
  /** What the page before ended with (its `next`). */
  readonly after?: string;
  /** How many to leave out before the page begins. */
  readonly skip?: number;
  readonly limit?: number;
}

/** Items of one page; `next` stands where there are more. `total` counts them all. */
export type Page<Name extends string, Item> = { readonly [K in Name]: Item[] } & {
  readonly next?: string;
  readonly total: number;
};

/** The page of `sorted`; `placeOf` says where in that order `after` stands. */
export function pageOf(
  sorted: readonly string[],
  { after, skip = 0, limit = Number.POSITIVE_INFINITY }: PageOptions,
  placeOf: (after: string) => string = (name) => name,
): { readonly names: string[]; readonly next?: string; readonly total: number } {
  const total = sorted.length;
  const place = after === undefined ? '' : placeOf(after);
  const found = after === undefined ? 0 : sorted.findIndex((name) => name > place);
  const from = Math.min(total, (found < 0 ? total : found) + skip);
  const names = sorted.slice(from, from + limit);
  const last = names.at(-1);
  return last !== undefined && from + names.length < total ? { names, next: last, total } : { names, total };
}
