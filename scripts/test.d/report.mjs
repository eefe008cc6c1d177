// What one test program said, and the sum of all.
//
// A test is a top-level test point of a program's TAP; what is indented belongs to it. A program that ends badly, says
// nothing, or breaks its own plan is one failed test more, so that a crash can never pass for a short success.

const POINT = /^(not )?ok\b/;

export class ProgramReport {
  passed = 0;
  failed = 0;
  skipped = 0;
  #lines = [];
  #plan;
  #bailOut;

  constructor(name) {
    this.name = name;
    this.startMs = performance.now();
  }

  line(text) {
    this.#lines.push(text);
    const plan = /^1\.\.(\d+)/.exec(text);
    if (plan) this.#plan = Number(plan[1]);
    if (text.startsWith('Bail out!')) this.#bailOut = text;
    const point = POINT.exec(text);
    if (!point) return;
    if (/ # SKIP/i.test(text)) this.skipped++;
    else if (point[1] && !/ # TODO/i.test(text)) this.failed++;
    else this.passed++;
  }

  /** Closes the report. `ending` is an exit code, or a sentence that says how the program died. */
  end(ending) {
    this.seconds = (performance.now() - this.startMs) / 1000;
    this.fault = this.#faultOf(ending);
    if (this.fault) this.failed++;
  }

  #faultOf(ending) {
    const points = this.passed + this.failed + this.skipped;
    if (typeof ending === 'string') return ending;
    if (ending === 124 || ending === 137) return 'its time was up';
    if (this.#bailOut) return this.#bailOut;
    if (ending !== 0 && this.failed === 0) return `it ended with exit code ${ending}`;
    if (points === 0 && this.#plan !== 0) return 'it ran no test';
    if (this.#plan === undefined) return 'it ended before its plan';
    if (this.#plan !== points) return `it planned ${this.#plan} tests and ran ${points}`;
    return undefined;
  }

  /** One line for a program that passed; all it said after that for one that did not. */
  render() {
    const counts = [`${this.passed} passed`];
    if (this.failed) counts.push(`${this.failed} failed`);
    if (this.skipped) counts.push(`${this.skipped} skipped`);
    const head = `${this.failed ? 'FAIL' : 'ok  '} ${this.name}  ${counts.join(', ')}  ${this.seconds.toFixed(1)} s\n`;
    if (!this.failed) return head;
    const why = this.fault ? `     ${this.name}: ${this.fault}\n` : '';
    return `${head}${this.#failures()}${why}`;
  }

  /** The lines of failed points with what precedes and follows them; all lines when no point says what failed. */
  #failures() {
    const shown = this.fault ? this.#lines.slice(-200) : this.#withoutPassed();
    return shown.map((text) => `     ${text}\n`).join('');
  }

  /** tap writes a test's details before its point, native tests after it: both stay with a failed point. */
  #withoutPassed() {
    const kept = [];
    let pending = [];
    let afterFailure = false;
    for (const text of this.#lines) {
      const point = POINT.exec(text);
      if (!point) {
        (afterFailure && text.startsWith('#') ? kept : pending).push(text);
        continue;
      }
      afterFailure = point[1] !== undefined;
      if (afterFailure) kept.push(...pending, text);
      pending = [];
    }
    return afterFailure ? [...kept, ...pending] : kept;
  }
}
