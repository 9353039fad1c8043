// Products of a weight-gradient tile: elements that were predicted, and that were not, times the pixels of dz. Pixels are
// multiplied beside the passes, bit by bit, the elements when they are known.
`default_nettype none

module jb_sequencer_products (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  input  wire logic        start_i,      // pulse; the next three are stable from then on
  input  wire logic [15:0] images_i,
  input  wire logic [15:0] rows_i,
  input  wire logic [15:0] columns_i,    // images * rows * columns < 2^16
  input  wire logic        finish_i,     // pulse; the next two are stable from then on
  input  wire logic [31:0] decided_i,
  input  wire logic [31:0] undecided_i,
  output      logic        ready_o,      // both products are there
  output      logic [63:0] macs_o,       // undecided * pixels
  output      logic [63:0] gated_o       // decided * pixels
);
  typedef enum logic [1:0] {
    StRows,
    StColumns,
    StWait,
    StElements
  } state_e;

  // A product is made in 16 steps, the highest bit of one factor first.
  state_e state_q;
  logic [15:0] a_q, b_q, sum_q;
  logic [4:0] steps_q;  // left
  logic finish_q;

  assign ready_o = state_q == StElements && steps_q == '0 && !finish_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q  <= StElements;
      steps_q  <= '0;
      finish_q <= 1'b0;
    end else begin
      if (finish_i) finish_q <= 1'b1;
      if (start_i) begin
        state_q <= StRows;
        steps_q <= 5'd16;
      end else if (steps_q != '0) begin
        steps_q <= steps_q - 5'd1;
      end else begin
        unique case (state_q)
          StRows: begin
            state_q <= StColumns;
            steps_q <= 5'd16;
          end
          StColumns: state_q <= StWait;
          StWait: begin
            if (finish_q) begin
              state_q  <= StElements;
              steps_q  <= 5'd16;
              finish_q <= 1'b0;
            end
          end
          default: ;
        endcase
      end
    end
  end

  logic done, clear, element;

  assign done    = steps_q == '0;
  assign clear   = start_i || (done && state_q == StRows);
  assign element = state_q == StElements && !done;

  always_ff @(posedge clk_i) begin
    if (start_i) a_q <= images_i;
    else if (done && state_q == StRows) a_q <= sum_q;

    if (start_i) b_q <= rows_i;
    else if (!done) b_q <= b_q << 1;
    else b_q <= state_q == StRows ? columns_i : sum_q;

    if (clear) sum_q <= '0;
    else if (!done && state_q != StElements) sum_q <= (sum_q << 1) + (b_q[15] ? a_q : '0);

    if (start_i) begin
      macs_o  <= '0;
      gated_o <= '0;
    end else if (element) begin
      macs_o  <= {16'd0, macs_o[46:0], 1'b0} + (b_q[15] ? {32'd0, undecided_i} : '0);
      gated_o <= {16'd0, gated_o[46:0], 1'b0} + (b_q[15] ? {32'd0, decided_i} : '0);
    end
  end
endmodule

`default_nettype wire
