/**
 * Wildcards of policies: `*` stands for any number of characters, none too, `?` for one; no way to mean them as letters.
 * In time of at most the product of the lengths, so that no pattern can stop a command.
 */

/** Whether the whole of `text` is what `pattern` describes. */
export function matches(pattern: string, text: string): boolean {
  let at = 0;
  let from = 0;
  let star = -1;
  let retry = 0;
  while (at < text.length) {
    if (pattern[from] === '*') {
      star = from++;
      retry = at;
    } else if (from < pattern.length && (pattern[from] === '?' || pattern[from] === text[at])) {
      from++;
      at++;
    } else if (star >= 0) {
      from = star + 1;
      at = ++retry;
    } else {
      return false;
    }
  }
  while (pattern[from] === '*') from++;
  return from === pattern.length;
}
