// As the system has it, dark or light: the choice is remembered in this browser.

const CHOICES = ["system", "dark", "light"];
const KEY = "qoemon-theme";

export function themeButton(button, changed) {
  let choice = CHOICES.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "system";
  const show = () => {
    document.documentElement.dataset.theme = choice;
    button.textContent = `◐ ${choice}`;
    button.title = `theme: ${choice === "system" ? "as the system has it" : choice}`;
  };
  button.addEventListener("click", () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    localStorage.setItem(KEY, choice);
    show();
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  show();
}
