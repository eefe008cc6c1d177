// What was measured, as a Markdown page and as a chart.

import { caseOf, inUnit } from './cases.mjs';
import { LUKS, PLAIN, QEMU } from './servers.mjs';

const sorted = (values) => values.toSorted((a, b) => a - b);
export const median = (values) => sorted(values)[values.length >> 1];
/** Half of the way from the least to the most, of the median. */
export const spread = (values) => (Math.max(...values) - Math.min(...values)) / 2 / median(values);

/** The rounds of a measurement as one: medians. */
export function summary(rounds) {
  const of = (name) => median(rounds.map((round) => round[name] ?? Number.NaN));
  return {
    perSecond: of('perSecond'),
    spread: spread(rounds.map(({ perSecond }) => perSecond)),
    p50Us: of('p50Us'),
    p99Us: of('p99Us'),
    cpuPerGiB: of('cpuPerGiB'),
    depth: of('depth'),
    verified: rounds.reduce((sum, { verified = 0 }) => sum + verified, 0),
  };
}

const fixed = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : '');
const times = (value) => (Number.isFinite(value) ? `**${value.toFixed(2)}**` : '');

function figure(what, { perSecond, spread: s, p99Us, cpuPerGiB, depth }) {
  const value = inUnit(what, perSecond);
  const unit = what.unit === 'k/s' ? `${fixed(value, value < 100 ? 1 : 0)} k/s` : `${fixed(value, 2)} GB/s`;
  const tail = Number.isFinite(cpuPerGiB) ? `, ${fixed(cpuPerGiB, 2)} CPU s` : '';
  const atDisk = Number.isFinite(depth) ? `, ${fixed(depth, 1)} at the disk` : '';
  return `${unit} ±${fixed(100 * s, 0)} %, p99 ${fixed(p99Us, 0)} µs${tail}${atDisk}`;
}

/** One section: a table of the cases by server, and ratios of the first server to the others. */
export function section({ title, note, results }) {
  const [first, ...others] = Object.keys(results[0].servers);
  const lines = [
    `## ${title}`,
    '',
    note,
    '',
    `| case | ${[first, ...others].join(' | ')} |`,
    `|---|${'---|'.repeat(others.length + 1)}`,
  ];
  for (const { id, servers } of results) {
    lines.push(
      `| ${caseOf(id).title} | ${Object.values(servers)
        .map((rounds) => figure(caseOf(id), summary(rounds)))
        .join(' | ')} |`,
    );
  }
  if (others.length === 0) return lines.join('\n');
  lines.push('', `${first} as a multiple of the others: throughput, p99, CPU per GiB.`, '');
  lines.push(`| case | ${others.join(' | ')} |`, `|---|${'---|'.repeat(others.length)}`);
  for (const { id, servers } of results) {
    const ours = summary(servers[first]);
    const cells = others.map((name) => {
      const theirs = summary(servers[name]);
      const rest = [ours.p99Us / theirs.p99Us, ours.cpuPerGiB / theirs.cpuPerGiB].filter(Number.isFinite);
      return [times(ours.perSecond / theirs.perSecond), ...rest.map((one) => fixed(one, 2))].join(', ');
    });
    lines.push(`| ${caseOf(id).title} | ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

const COLOURS = {
  sealdisk: '#0b7285',
  [PLAIN.name]: '#868e96',
  [LUKS.name]: '#e8590c',
  [QEMU.name]: '#9c36b5',
};
const [LABEL, WIDTH, BAR, GAP, TOP] = [270, 400, 11, 14, 64];

const text = (x, y, content, extra = '') => `<text x="${x}" y="${y}" ${extra}>${content}</text>`;

/** Bars: throughput as a multiple of nbdkit's without encryption. */
export function chart(results, where) {
  const shown = Object.keys(COLOURS);
  const ratio = (servers, name) => summary(servers[name]).perSecond / summary(servers[PLAIN.name]).perSecond;
  const most = Math.max(...results.flatMap(({ servers }) => shown.map((name) => ratio(servers, name))));
  const step = BAR * shown.length + GAP;
  const height = TOP + step * results.length + 30;
  const scale = (value) => (value / most) * WIDTH;
  const parts = [
    text(
      12,
      22,
      'Throughput, as a multiple of nbdkit without encryption',
      'font-size="15" font-weight="600"',
    ),
  ];
  shown.forEach((name, i) => {
    parts.push(
      `<rect x="${12 + i * 170}" y="34" width="11" height="11" fill="${COLOURS[name]}"/>`,
      text(28 + i * 170, 44, name),
    );
  });
  results.forEach(({ id, servers }, row) => {
    const y = TOP + row * step;
    parts.push(text(LABEL - 8, y + step / 2 - 3, caseOf(id).title, 'text-anchor="end"'));
    shown.forEach((name, i) => {
      const value = ratio(servers, name);
      const top = y + i * BAR;
      parts.push(
        `<rect x="${LABEL}" y="${top}" width="${scale(value).toFixed(1)}" height="${BAR - 2}" fill="${COLOURS[name]}"/>`,
      );
      parts.push(
        text(
          (LABEL + scale(value) + 4).toFixed(1),
          top + BAR - 3,
          value.toFixed(2),
          'font-size="9" fill="#495057"',
        ),
      );
    });
  });
  const one = (LABEL + scale(1)).toFixed(1);
  parts.push(
    `<line x1="${one}" y1="${TOP - 6}" x2="${one}" y2="${height - 30}" stroke="#adb5bd" stroke-dasharray="3 3"/>`,
  );
  parts.push(text(12, height - 10, where, 'font-size="10" fill="#495057"'));
  const width = LABEL + WIDTH + 60;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="11" fill="#212529">
<rect width="100%" height="100%" fill="#ffffff"/>
${parts.join('\n')}
</svg>
`;
}
