/** What was begun and is to be ended: the last begun first, each of them, whatever became of the others. */

export type End = () => unknown;

/** Ends all and empties the list; fails with the first failure. */
export async function endAll(ends: End[]): Promise<void> {
  const failures: unknown[] = [];
  for (let end = ends.pop(); end; end = ends.pop()) {
    try {
      await end();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
