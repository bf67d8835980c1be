// The little that the suite needs of an assertion library, in Node and in a page.

export function equal(found, expected, what = '') {
  const [left, right] = [JSON.stringify(found), JSON.stringify(expected)];
  if (left !== right) throw new Error(`${what ? `${what}: ` : ''}${left} instead of ${right}`);
}

export const ok = (value, what) => equal(Boolean(value), true, what);

/** Awaits a rejection with these properties. */
export async function rejects(promise, properties) {
  const error = await promise.then(
    (value) => Promise.reject(new Error(`no error, but ${JSON.stringify(value)}`)),
    (error) => error,
  );
  const found = Object.fromEntries(Object.keys(properties).map((key) => [key, error[key]]));
  equal(found, properties, String(error));
  return error;
}

/** The next status, now or later, in which the client is so. */
export function status(client, state) {
  if (client.state === state) return Promise.resolve(client.status);
  return new Promise((resolve) => {
    const off = client.onStatus((status) => {
      if (status.state !== state) return;
      off();
      resolve(status);
    });
  });
}

/** Collects what a callback is called with, and waits for as many calls as asked for. */
export function collect() {
  const values = [];
  const waiting = new Set();
  const collector = (value) => {
    values.push(value);
    for (const look of waiting) look();
  };
  const first = (count) =>
    new Promise((resolve) => {
      const look = () => {
        if (values.length < count) return;
        waiting.delete(look);
        resolve(values.slice(0, count));
      };
      waiting.add(look);
      look();
    });
  return Object.assign(collector, { values, first });
}
