// Lines and areas over time; loaded when the first chart is drawn.
export { default } from "uplot";
