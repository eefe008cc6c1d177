/** Whose command runs next. */

import t from 'tap';
import { Turns } from '#sealdisk/daemon/turns.js';

/** Takes a turn; `ran` hears its name when it comes. */
const taking = (turns: Turns, ran: string[]) => (uid: number, name: string) => {
  const turn = turns.take(uid);
  turn.mine.then(() => ran.push(name));
  return turn;
};
const settled = () => new Promise((resolve) => setImmediate(resolve));

t.test('so many run at a time, of one user fewer, and users come in turn', async (t) => {
  const ran: string[] = [];
  const take = taking(new Turns(3, 2), ran);
  const [a1, a2] = ['a1', 'a2', 'a3', 'a4'].map((name) => take(1, name));
  const b1 = take(2, 'b1');
  take(2, 'b2');
  take(3, 'c1');
  await settled();
  t.same(ran, ['a1', 'a2', 'b1']);
  a1?.leave();
  a1?.leave();
  await settled();
  t.same(ran.slice(3), ['a3'], 'the one that waited longest, now that it runs fewer');
  b1.leave();
  await settled();
  t.same(ran.slice(4), ['b2']);
  a2?.leave();
  await settled();
  t.same(ran.slice(5), ['c1'], 'before a4, whose user had its turn');
});

t.test('one that goes away while it waits is forgotten', async (t) => {
  const ran: string[] = [];
  const take = taking(new Turns(1, 1), ran);
  const first = take(1, 'a');
  take(1, 'b').leave();
  take(2, 'c').leave();
  const last = take(1, 'd');
  await settled();
  first.leave();
  await settled();
  t.same(ran, ['a', 'd']);
  last.leave();
  take(9, 'e');
  await settled();
  t.same(ran, ['a', 'd', 'e']);
});
