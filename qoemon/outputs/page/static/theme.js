// The theme: system, dark or light. The choice is stored in the browser.

const CHOICES = ["system", "dark", "light"];
const KEY = "qoemon-theme";

export function themeButton(button, onChange) {
  let choice = CHOICES.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "system";
  const show = () => {
    document.documentElement.dataset.theme = choice;
    button.textContent = `◐ ${choice}`;
    button.title = `theme: ${choice}`;
  };
  button.addEventListener("click", () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    localStorage.setItem(KEY, choice);
    show();
    onChange();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
  show();
}
