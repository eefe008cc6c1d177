// A flame graph of a connection's thread under a load: what the stacks of its samples have in common, drawn as an SVG.

import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { fill, load } from './measure.mjs';
import { run, start } from './servers.mjs';

const WHAT = { blockBytes: 4096, random: true, depth: 32 };
const SECONDS = 3;
const ROOT = 'sealdisk::Connection::loop';
const [WIDTH, ROW, LEAST] = [1200, 16, 0.002];

const frameOf = (line) => /^\s+[0-9a-f]+ (.*?)(\+0x[0-9a-f]+)? \(.*\)$/.exec(line)?.[1];

/** The stacks of `perf script`, each outermost first, from the connection's loop on. */
function stacksOf(script) {
  const stacks = script.split('\n\n').map((sample) => {
    const frames = sample.split('\n').map(frameOf);
    return frames.filter((name) => name !== undefined && name !== '[unknown]').reverse();
  });
  return stacks
    .map((frames) => frames.slice(frames.findIndex((name) => name.startsWith(ROOT))))
    .filter(([first = '']) => first.startsWith(ROOT));
}

const nodeOf = (name) => ({ name, count: 0, children: new Map() });

function treeOf(stacks) {
  const root = nodeOf(ROOT);
  for (const frames of stacks) {
    root.count++;
    let node = root;
    for (const name of frames.slice(1)) {
      if (!node.children.has(name)) node.children.set(name, nodeOf(name));
      node = node.children.get(name);
      node.count++;
    }
  }
  return root;
}

/** Every frame that is wide enough to be seen, with its place. */
function boxesOf(root) {
  const boxes = [];
  const place = (node, x, depth) => {
    const width = (node.count / root.count) * WIDTH;
    if (width < WIDTH * LEAST) return;
    boxes.push({ node, x, width, depth });
    let at = x;
    for (const child of [...node.children.values()].sort((a, b) => b.count - a.count)) {
      place(child, at, depth + 1);
      at += (child.count / root.count) * WIDTH;
    }
  };
  place(root, 0, 0);
  return boxes;
}

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const short = (name) => name.replaceAll(/sealdisk::|\(anonymous namespace\)::|\(.*/g, '');

function draw(root, title) {
  const boxes = boxesOf(root);
  const height = (Math.max(...boxes.map(({ depth }) => depth)) + 1) * ROW + 40;
  const shapes = boxes.map(({ node, x, width, depth }) => {
    const y = height - 10 - (depth + 1) * ROW;
    const colour = node.name.includes('sealdisk::') ? '#66a9b5' : '#e9b872';
    const share = ((100 * node.count) / root.count).toFixed(1);
    const letters = Math.floor(width / 6.3);
    const label = letters > 3 ? escaped(short(node.name).slice(0, letters)) : '';
    const box = `<rect x="${x.toFixed(1)}" y="${y}" width="${(width - 0.5).toFixed(1)}" height="${ROW - 1}" fill="${colour}"/>`;
    return `<g><title>${escaped(node.name)} ${share} %</title>${box}<text x="${(x + 3).toFixed(1)}" y="${y + 11}">${label}</text></g>`;
  });
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}"`;
  return `${head} font-family="ui-monospace, monospace" font-size="10" fill="#212529">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="4" y="16" font-family="system-ui, sans-serif" font-size="13">${title}</text>
${shapes.join('\n')}
</svg>
`;
}

const hasPerf = () => {
  try {
    execFileSync('perf', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

/** The picture of 4k random reads at depth 32; undefined where there is no perf. `where` tells the machine. */
export async function flameGraph(server, dir, where) {
  if (!hasPerf()) return undefined;
  const running = await start(server, dir, '512M');
  await fill(running);
  const data = join(dir, 'perf.data');
  const loading = load(running, WHAT, SECONDS);
  const record = [
    'record',
    '-q',
    '-F',
    '1999',
    '-g',
    '-o',
    data,
    '-p',
    String(running.pid),
    '--',
    'sleep',
    String(SECONDS - 1),
  ];
  await new Promise((resolve) => spawn('perf', record, { stdio: 'ignore' }).once('exit', resolve));
  await loading;
  await running.stop();
  const script = run('perf', ['script', '-i', data, '-F', 'comm,ip,sym,dso'], { maxBuffer: 2 ** 30 });
  return draw(
    treeOf(stacksOf(script)),
    `4k random reads at depth 32 on tmpfs: the connection's thread. ${where}`,
  );
}
