'use strict';

// What the body is besides what pomelo adds.
const told = ({ __route__, ...body }) => body;

module.exports = (app) => ({
  echo(body, _session, next) {
    next(null, told(body));
  },

  /** A push goes to a user: who is none becomes one. */
  say(body, session, next) {
    const push = () => {
      const user = { uid: session.uid, sid: app.getServerId() };
      app.get('channelService').pushMessageByUids('onSay', told(body), [user], () => {});
      next(null);
    };
    if (session.uid) push();
    else session.bind(`user-${session.id}`, push);
  },

  fail(_body, _session, next) {
    next(new Error('as you wish'));
  },

  leave(_body, session, next) {
    app.get('sessionService').kickBySessionId(session.id, () => {});
    next(null, {});
  },

  think(_body, _session, next) {
    setTimeout(next, 1000, null, {});
  },
});
