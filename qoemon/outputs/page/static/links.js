// Links to other tools, as the configuration names them.

import { el } from "./dom.js";

const outside = (url, text) => el("a", { href: url, rel: "noopener noreferrer", target: "_blank" }, text);

// An element with the links; null without any.
export const linkList = (links) =>
  links.length ? el("span", { class: "links" }, ...links.map(({ name, url }) => outside(url, name))) : null;

// A text that is a web address becomes a link.
export const linked = (text) => (/^https?:\/\/\S+$/.test(text) ? outside(text, text) : text);
