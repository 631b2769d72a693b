// Starts a web player on a <video> element, with the CMCD settings that qoemon recommends.
//   kind       "hls.js", "dash.js" or "shaka"
//   media      URL of the folder with the test stream
//   collector  URL to which the player reports
//   session    id of the session
//   ahead      seconds of media that are loaded ahead: a short buffer stalls soon
//   interval   seconds between two heartbeats
// Returns the player. The page must have loaded its script. The video plays at once, so it must be muted.
const EVENTS = ["ps", "t", "e", "pr"];

const start = {
  "hls.js"(video, { media, collector, session, ahead, interval }) {
    const player = new Hls({
      maxBufferLength: ahead,
      maxMaxBufferLength: ahead,
      // A segment that is held back is late, not lost.
      fragLoadPolicy: { default: { maxTimeToFirstByteMs: 600_000, maxLoadTimeMs: 600_000, timeoutRetry: null, errorRetry: null } },
      cmcd: {
        sessionId: session, contentId: "test", version: 2,
        includeKeys: [], // no CMCD in the URLs of segments
        eventTargets: [{ url: collector, events: EVENTS, interval }],
      },
    });
    player.loadSource(`${media}/master.m3u8`);
    player.attachMedia(video);
    video.play();
    return player;
  },

  "dash.js"(video, { media, collector, session, ahead, interval }) {
    const player = dashjs.MediaPlayer().create();
    player.updateSettings({ streaming: {
      buffer: { bufferTimeDefault: ahead, bufferTimeAtTopQuality: ahead, bufferTimeAtTopQualityLongForm: ahead },
      fragmentRequestTimeout: 600_000,
      cmcd: {
        enabled: true, version: 2, sid: session, cid: "test",
        enabledKeys: [], // no CMCD in the URLs of segments
        eventTargets: [{
          enabled: true, url: collector, events: EVENTS, interval,
          // Without this list dash.js reports neither session nor state.
          enabledKeys: ["sid", "cid", "sn", "sta", "e", "ts", "msd", "bl", "br", "pr", "ec", "v", "sf", "st", "bg"],
        }],
      },
    } });
    player.initialize(video, `${media}/stream.mpd`, true);
    return player;
  },

  shaka(video, { media, collector, session, ahead, interval }) {
    const player = new shaka.Player();
    player.configure({
      streaming: { bufferingGoal: ahead, rebufferingGoal: 2, retryParameters: { timeout: 0, stallTimeout: 0, connectionTimeout: 0 } },
      cmcd: {
        enabled: Boolean(collector), version: 2, sessionId: session, contentId: "test",
        includeKeys: ["rc"], // a key that requests do not have: no CMCD in the URLs of segments
        eventTargets: collector ? [{ enabled: true, url: collector, events: EVENTS, interval }] : [],
      },
    });
    player.attach(video).then(() => player.load(`${media}/stream.mpd`)).then(() => video.play());
    return player;
  },
};

// shaka and dash.js take no relative addresses.
export const play = (kind, video, options) =>
  start[kind](video, { ...options, media: new URL(options.media, location).href });
