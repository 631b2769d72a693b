// Reports that cannot be trusted: a banner for the worst group, and the same sentence for the selected group.

import { byId, el, setText } from "./dom.js";
import { fullGroupName, groupName, percent, whole, windowText } from "./words.js";

const LOG = "Samples are in qoemon's log.";

export function showFeed(feed, select) {
  const banner = byId("feed");
  banner.replaceChildren(...(feed ? sentences(feed, select) : []));
  banner.hidden = feed === null;
}

function sentences({ service, labels, share, text, more }, select) {
  const title = fullGroupName(service, labels);
  const button = { type: "button", class: "name", title, click: () => select({ service, labels }) };
  const others = more ? ` ${whole(more)} more ${more === 1 ? "group has" : "groups have"} doubtful reports.` : "";
  return [`${percent(share)} of `, el("button", button, groupName(service, labels)), `'s reports ${text}${others} ${LOG}`];
}

export function showGroupFeed({ feed, base_window }) {
  const where = `this group's reports in the last ${windowText(base_window)}`;
  setText(byId("group-feed"), feed ? `${percent(feed.share)} of ${where} ${feed.text} ${LOG}` : "");
}
